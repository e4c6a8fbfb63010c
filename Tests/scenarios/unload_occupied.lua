-- timeout: 60
-- A thread in a container that is to be unloaded is named as data; it is waited for, or the container stays, as `blockers` says.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"

local c <close> = t.target {"lingerer", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "linger_2"

local function enter()
  c:ask("enter", "entering\n")
  t.asleep(c.pid)
end
local function leave(version)
  c:ask("leave", ("left=%d\n"):format(version), {reject = {"left=-1", "left=" .. 3 - version}})
end
local function is_mapped()
  for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
    if line:find(fix, 1, true) then return true end
  end
  return false
end
--- The thread is inside the new function when that goes out of force.
local function revert_under(options)
  t.state(ulp.trigger(p, fix), "done")
  enter()
  options.consistency, options.unload = "immediate", options.unload ~= "auto" and true or nil
  return t.state(ulp.revert(p, fix, options), "done").containers[1]
end
local function occupied(container, what)
  t.eq(container.state, "retired", what)
  t.ok(container.reason:find "thread %d+ is in it", container.reason)
  t.eq(#container.blockers, 1, what .. ": blockers")
  local blocker = container.blockers[1]
  t.eq({blocker.reason, blocker.incomplete, blocker.symbol, blocker.library}, {"inside", false, "linger_2", "linger_2.so"}, what)
  t.ok(blocker.tid ~= c.pid and blocker.name and blocker.frame >= 0 and #blocker.callers > 2, what .. ": who and where")
  t.ok(is_mapped(), what .. ": it stays")
  t.unharmed(c.pid)
end

-- Not waited for.
local began = t.clock()
occupied(revert_under {blockers = "fail", timeout = 90}, "fail")
t.ok(t.clock() - began < 30, "at once")
leave(2)
enter()
leave(1)
t.ok(is_mapped(), "nobody has looked again")
t.eq(revert_under {unload = "auto", timeout = 30}.state, "retired", "unless told otherwise nothing waits for what goes of itself")
leave(2)

-- Waited for in vain.
began = t.clock()
occupied(revert_under {timeout = 1}, "wait")
t.ok(t.clock() - began >= 1, "the time was given")
leave(2)

-- Waited for; and as text and JSON.
local function by_command(...)
  t.state(ulp.trigger(p, fix), "done")
  enter()
  return t.ulpsh {"revert", "-p", tostring(c.pid), "--consistency", "immediate", "--unload", "yes", timeout = 40, ...}
end
do
  local tool <close> = by_command("--timeout", "30", fix)
  t.raises("expect.timeout", function() tool:expect("done", {timeout = 0.5}) end)
  t.ok(not t.states(c.pid):find "[tT]", "nothing stands still meanwhile")
  leave(2)
  tool:expect "done"
  tool:expect_exit(0)
  t.ok(not is_mapped(), "it went when its thread had gone")
end
do
  local tool <close> = by_command("--blockers", "fail", "--json", fix)
  tool:expect_exit(0)
  local result = json.decode(tool:drain())
  local container = result.containers[1]
  t.eq({result.state, container.state, container.blockers[1].symbol}, {"done", "retired", "linger_2"}, "JSON")
  leave(2)
end
do
  local tool <close> = by_command("--blockers", "fail", fix)
  tool:expect("thread %d+ %(.-%) is inside /.*linger_2.so, which stays loaded", {pattern = true})
  tool:expect_exit(0)
  leave(2)
end
t.state(ulp.trigger(p, fix), "done")
t.eq(t.state(ulp.revert(p, fix, {unload = true}), "done").containers[1].state, "unloaded", "with nobody in it")
t.ok(not is_mapped())
enter()
leave(1)
t.unharmed(c.pid)
