-- A script that runs a command between stage and settle does not keep the program from its signals meanwhile.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"signals", timeout = 10}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local fix = t.patch "dozens_13"

--- Sends a signal, and sees from the same command that it is handled before the command ends.
local handled = ([[kill -USR1 %d; for i in $(seq 100); do sleep 0.2;
  grep -q '^State:.*t' /proc/%d/status || break; done; grep -q '^State:.*S' /proc/%d/status]]):format(c.pid, c.pid, c.pid)
do
  local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix))) end)
  t.eq({os.execute(handled)}, {true, "exit", 0}, "os.execute")
  c:ask("report", "usr1=1 ")
  local pipe = assert(io.popen(handled .. "; echo $?"))
  t.eq(pipe:read "n", 0, "io.popen")
  t.ok(pipe:close(), "and its end")
  c:ask("report", "usr1=2 ")
  t.ok(t.insist(function() return p:switch(staged) end).switched, "the switch")
  t.insist(function() return runtime:settle(staged) end)
end
c:ask("dozen", "13\n", {reject = "12"})
t.eq({os.execute "exit 3"}, {nil, "exit", 3}, "how a command ends")
t.eq({os.execute "kill -9 $$"}, {nil, "signal", 9}, "and by what")
t.eq(os.execute(), true, "there is a shell")
