-- timeout: 40
-- A container whose constructor started threads is not unloaded under them: it stays until they have ended.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function loaded(p, wanted)
  p:refresh()
  for _, library in ipairs(p.libs) do if library.name == wanted .. ".so" then return true end end
  return false
end

do
  local c <close> = t.target {"numserv", timeout = 10}
  local p <close> = assert(ulp.attach(c.pid))
  local fix = t.patch "misdeed_thread"
  t.state(ulp.trigger(p, fix), "done")
  local result = t.state(ulp.revert(p, fix, {unload = true}), "done")
  t.eq(result.containers[1].state, "retired", "while its thread lives")
  t.ok(result.containers[1].reason:find "thread %d+ is in it", "why: " .. result.containers[1].reason)
  t.ok(loaded(p, "misdeed_thread"), "it is still there")
  c:ask("dozen", "12\n", {reject = "13"})
  -- The thread ends after three calls of the new function.
  t.state(ulp.trigger(p, fix), "done")
  for _ = 1, 3 do c:ask("dozen", "13\n", {reject = "12"}) end
  t.sleep(0.1)
  t.state(ulp.revert(p, fix, {unload = true}), "done")
  t.ok(not loaded(p, "misdeed_thread"), "and goes when its threads have gone")
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

-- It crashes when its thread is at work already.
do
  local c <close> = t.target {"numserv", timeout = 10}
  local p <close> = assert(ulp.attach(c.pid))
  local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_thread_crash") end)
  t.eq(err.unloaded, false, "not under its thread")
  t.ok(err.message:find "thread %d+ is in it", "why: " .. err.message)
  t.ok(loaded(p, "misdeed_thread_crash"), "it is still there")
  c:ask("dozen", "12\n", {reject = "13"})
  t.sleep(1)
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "the next change works")
  t.ok(not loaded(p, "misdeed_thread_crash"), "and has given it back")
  c:ask("dozen", "13\n", {reject = "12"})
  t.unharmed(c.pid)
end
