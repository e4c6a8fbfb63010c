-- timeout: 30
-- A process that is stopped (Ctrl-Z, SIGSTOP) between staging and the switch stays stopped, all of it, until it is told to
-- continue; then the same operation can be finished.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"threads", "2", timeout = 20}
local fix = t.patch "mix_odd"
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())

local staged <close> = runtime:stage(assert(ulp.plan(p, fix)))
c:signal "STOP"
t.sleep(0.05)
t.refused("process.stopped", function() return p:switch(staged) end)
t.sleep(0.05)
t.eq(t.states(c.pid):gsub("[tT]", ""), "", "threads that run in a stopped process")
c:signal "CONT"
t.sleep(0.05)
t.ok(p:switch(staged).switched, "the switch, once it goes on")
runtime:settle(staged)
c:ask("tell", "wrong=0 registers=0")
t.unharmed(c.pid)
