-- timeout: 30
-- A thread is not kept longer than `max_carrier`: a constructor is forced to return, and the process is let go unpatched.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", timeout = 10}
local p <close> = assert(ulp.attach(c.pid))
local function refused(patch, limit)
  local began = t.clock()
  local err = t.refused("stage.max_carrier", function()
    return ulp.trigger(p, t.patch(patch), {max_carrier = limit, timeout = 90})
  end)
  t.ok(t.clock() - began < 30, "it is not tried again and again")
  t.eq(p:runtime():state(), "idle", "nothing is pending")
  t.eq(#p:runtime():patches(), 0, "nothing is loaded")
  t.unharmed(c.pid)
  c:ask("dozen", "12\n", {reject = "13"})
  return err
end
local err = refused("dozens_slow", "30ms")
t.eq({err.forced, err.cause}, {true, "timeout"}, "how")
t.eq(refused("misdeed_spin", "30ms").constructor, "begin", "who")
refused("misdeed_sleep", "30ms")
-- The loader itself is never left in the middle: what took too long is taken back when it is done.
local loader = refused("dozens_13", "1us")
t.eq(loader.max_carrier_us, 1, "the limit")
t.ok(loader.carrier_us > 1, "and what it would have been")

t.state(ulp.trigger(p, t.patch "dozens_slow", {max_carrier = "5s"}), "done", "a limit that is kept")
c:ask("dozen", "13\n", {reject = "12"})
