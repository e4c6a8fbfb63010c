-- timeout: 30
-- A signal that only the interrupted wait lets through comes while the world is stopped: the wait ends by it, as if we had
-- not been there.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"pwait", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
for round = 1, 20 do
  t.sleep(0.005)
  t.insist(function() p:stopped(function() c:signal "USR1" end) end)
  t.sleep(0.02)
  c:ask("tell", ("handled=%d noticed=%d spurious=0"):format(round, round))
end
t.state(ulp.trigger(p, fix), "done")
c:ask("tell", "handled=20 noticed=20 spurious=0 dozen=13.")
t.unharmed(c.pid)
