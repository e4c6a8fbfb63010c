-- timeout: 40
-- A thread on a coroutine's stack of two kilobytes is borrowed without a byte being written beyond that stack.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"coroutine", timeout = 10}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
for round = 1, 10 do
  t.state(ulp.trigger(p, fix), "done", "round " .. round)
  c:ask("dozen", "13 damage=0.\n", {reject = "12 "})
  t.state(ulp.revert(p, fix), "done", "round " .. round)
  c:ask("dozen", "12 damage=0.\n", {reject = "13 "})
  t.unharmed(c.pid)
end
-- Also when the tool goes away in the middle of the call, or the constructor is forced out of it.
local slow = t.patch "dozens_slow"
do
  local tool <close> = t.ulpsh {"-e", ("ulp.trigger(%d, %q)"):format(c.pid, slow)}
  t.wait_until(function() return t.read_file(("/proc/%d/maps"):format(c.pid)):find(slow, 1, true) end)
  tool:signal "KILL"
  t.ok(tool:wait(), "it ends")
end
c:ask("dozen", "12 damage=0.\n", {reject = "13 "})
t.state(ulp.trigger(p, fix), "done", "what was begun is undone")
c:ask("dozen", "13 damage=0.\n", {reject = "12 "})
t.state(ulp.revert(p, fix), "done")
t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_segv") end)
t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_abort") end)
c:ask("dozen", "12 damage=0.\n", {reject = "13 "})
t.unharmed(c.pid)
