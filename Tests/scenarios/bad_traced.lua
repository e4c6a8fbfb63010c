-- A process in a debugger's hands, and one that is stopped, are left to whoever holds them.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"
local fix = t.patch "dozens_13"

local c <close> = t.target "numserv"
do
  local tracer <close> = t.spawn {t.path "tracer", tostring(c.pid)}
  tracer:expect "holding\n"
  local said = t.refused("process.traced", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  t.ok((said.message .. tostring(said.tracer)):find(tostring(tracer.pid), 1, true), "the tracer is named")
  c:ask("dozen", "12\n", {reject = "13"})
  tracer:send_end()
  tracer:expect_exit(0)
end

c:signal "STOP"
t.wait_until(function() return t.states(c.pid):find "T" end)
local before = t.text(c.pid, "libdozens.so.0")
t.refused("process.stopped", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
t.eq(t.states(c.pid), "T", "it is still stopped")
t.ok(t.text(c.pid, "libdozens.so.0") == before, "its text is unchanged")
c:signal "CONT"
bad.still_works(c)
