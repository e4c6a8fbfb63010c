-- A thread inside the function to be replaced is in the way; what to do about that is the operator's choice.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "lingerer"
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "linger_2"

--- Sends a thread in and waits until it is asleep there.
local function enter()
  c:ask("enter", "entering\n")
  t.asleep(c.pid)
end
local function leave(version)
  c:ask("leave", ("left=%d\n"):format(version), {reject = {"left=-1", "left=" .. 3 - version}})
end

enter()
local before = t.snapshot(c.pid)
local function refused(change, ...)
  local arguments, began = table.pack(...), t.clock()
  local said = t.refused("patch.blocked", function() return change(p, table.unpack(arguments, 1, arguments.n)) end)
  t.ok(t.clock() - began >= 1, "the time was given")
  t.eq(#said.blockers, 1, "blockers")
  t.ok(said.blockers[1].symbol and said.blockers[1].symbol:find "^linger", "the function is named")
  t.ok(said.blockers[1].tid ~= c.pid, "the thread is named")
  t.unharmed(c.pid)
end
refused(ulp.trigger, fix, {timeout = 1})
t.unchanged(c.pid, before)
leave(1)

-- Patience: the thread leaves while the tool tries again.
enter()
do
  local tool <close> = t.ulpsh {"-e", ("print(ulp.trigger(%d, %q, {timeout = 20}).state)"):format(c.pid, fix), timeout = 25}
  t.raises("expect.timeout", function() tool:expect("done", {timeout = 0.3}) end)
  leave(1)
  tool:expect "done\n"
  tool:expect_exit(0)
end
enter()
refused(ulp.revert, fix, {timeout = 1})
leave(2)
t.state(ulp.revert(p, fix), "done")

-- Haste: who is inside finishes there, who comes next is in the new world.
enter()
t.state(ulp.trigger(p, fix, {consistency = "immediate"}), "done")
leave(1)
enter()
leave(2)
enter()
t.state(ulp.revert(p, fix, {consistency = "immediate"}), "done")
leave(2)
enter()
leave(1)
t.unharmed(c.pid)

-- A pause longer than allowed does not happen. The last thread that left must be gone to compare.
t.wait_until(function() return #t.states(c.pid) <= 1 end)
before = t.snapshot(c.pid)
t.refused("switch.max_pause", function() return ulp.trigger(p, fix, {max_pause = "1us", timeout = 0.3}) end)
t.unchanged(c.pid, before)
t.raises("usage", function() return ulp.trigger(p, fix, {max_pause = "soon"}) end)
