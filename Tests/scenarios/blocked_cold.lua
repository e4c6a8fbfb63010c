-- timeout: 30
-- A thread in a part that the compiler has moved out of a function is inside the function, with and without a symbol table; and
-- with `blockers = "fail"` the first blocker is the answer.
local t = require "ulp.scenario"
local ulp = require "ulp"

for _, program in ipairs {"coldserv", "coldserv_stripped"} do
  local c <close> = t.target {program, timeout = 10}
  local p <close> = assert(ulp.attach(c.pid))
  local fix = t.patch("cold_2", {as = program .. "_2"})
  local function enter()
    c:ask("enter", "entering\n")
    t.asleep(c.pid)
  end
  enter()
  local before = t.snapshot(c.pid)
  local said = t.refused("patch.blocked", function() return ulp.trigger(p, fix, {timeout = 20, blockers = "fail"}) end)
  t.eq(said.attempts, 1, program .. ": not tried again")
  local blocker = said.blockers[1]
  t.eq({#said.blockers, blocker["function"], blocker.reason, blocker.incomplete}, {1, "linger", "inside", false}, program)
  t.ok(blocker.frame > 0 and blocker.tid ~= c.pid and blocker.name and #blocker.callers > 2, program .. ": where it is")
  t.eq(blocker.symbol, program == "coldserv" and "linger.cold" or nil, program .. ": what the symbol table calls it")
  t.unchanged(c.pid, before)
  c:ask("leave", "left=1\n", {reject = "left=2"})
  t.state(ulp.trigger(p, fix, {blockers = "fail"}), "done", program .. ": when it has left")
  enter()
  c:ask("leave", "left=2\n", {reject = "left=1"})
  enter()
  t.refused("patch.blocked", function() return ulp.revert(p, fix, {timeout = 20, blockers = "fail"}) end)
  c:ask("leave", "left=2\n", {reject = "left=1"})
  t.state(ulp.revert(p, fix, {blockers = "fail"}), "done")
  t.unharmed(c.pid)
end
