-- timeout: 30
-- A process that is stopped (Ctrl-Z, SIGSTOP) between staging and the switch stays stopped, all of it, until it is told to
-- continue; then the same operation can be finished.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"threads", "2", timeout = 20}
local fix = t.patch "mix_odd"
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())

local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix))) end)
local function stands() return not t.states(c.pid):find "[^tT]" end
c:signal "STOP"
t.wait_until(stands)
t.refused("process.stopped", function() return p:switch(staged) end)
t.wait_until(stands)
t.sleep(0.05)
t.ok(stands(), "no thread runs in a stopped process")
c:signal "CONT"
t.wait_until(function() return not t.states(c.pid):find "[tT]" end)
t.ok(t.insist(function() return p:switch(staged) end).switched, "the switch, once it goes on")
t.insist(function() return runtime:settle(staged) end)
c:ask("tell", "wrong=0 registers=0")
t.unharmed(c.pid)
