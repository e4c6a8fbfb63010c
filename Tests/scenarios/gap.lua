-- timeout: 30
-- A function without unwind information hides its callers from a frame pointer unwinder: the thread is inside all the same.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"gap", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "gap_2"
c:ask("on", "2\n")
t.sleep(0.1)
local err = t.raises("patch.blocked", function() return ulp.trigger(p, fix, {timeout = 1}) end)
t.eq(err.blockers[1].reason, "unwind.incomplete")
t.ok(err.message:find("may be in gap (its stack cannot be unwound)", 1, true), err.message)
c:ask("on", "2\n", {reject = "3"})
t.state(ulp.trigger(p, fix, {consistency = "immediate"}), "done")
c:ask("on", "2\n", {reject = "3"})
c:ask("on", "3\n", {reject = "2"})
t.unharmed(c.pid)

-- A pointer to the function is no place to which anybody returns, and neither other stacks nor libraries are part of this one.
do
  local other <close> = t.target {"gap", "beside", timeout = 20}
  local q <close> = assert(ulp.attach(other.pid))
  other:ask("on", "1\n", {reject = "2"})
  for round = 1, 3 do
    t.state(ulp.trigger(q, fix, {blockers = "fail"}), "done", "round " .. round)
    other:ask("on", "2\n", {reject = "1"})
    t.state(ulp.revert(q, fix, {blockers = "fail"}), "done", "round " .. round)
    other:ask("on", "1\n", {reject = "2"})
  end
  t.unharmed(other.pid)
end
