-- timeout: 60
-- A shell that has attached and waits for input holds nothing: a thousand signals are handled as if it were not there, and
-- no thread is ever in a tracing stop.
local t = require "ulp.scenario"

local c <close> = t.target "signals"
local shell <close> = t.ulpsh {pty = true, timeout = 10, env = {TERM = "dumb", HOME = t.directory()}}
shell:send(("p = ulp.attach(%d)\n"):format(c.pid))
shell:send "print('attached to', p.comm)\n"
shell:expect "attached to\tsignals"

local count, samples = 1000, 0
local storm <close> = t.spawn {t.path "sigstorm", tostring(c.pid), tostring(count), "1000", timeout = 20}
while storm:alive() do
  local states = t.states(c.pid)
  t.ok(not states:find "[tT]", "no thread is stopped, found " .. states)
  samples = samples + 1
end
t.ok(samples > 20, ("looked often enough: %d times"):format(samples))
t.wait_until(function() return tonumber(c:ask("report", "queued=(%d+)", {pattern = true})) >= count end)
c:ask("report", ("usr1=0 queued=%d sum=%d disorder=0."):format(count, count * (count + 1) // 2))
t.unharmed(c.pid)
shell:send "print('still', p.pid)\n"
shell:expect("still\t" .. c.pid)
