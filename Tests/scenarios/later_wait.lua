-- timeout: 30
-- Two stops of one operation meet a loop of timed waits: the second stop interrupts another wait than the first one, which
-- must not be cut short for the time that the first had taken.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"idle", "epoll_wait", "200", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local fix = t.patch "dozens_13"
for _ = 1, 3 do
  do
    local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix)), {thread = c.pid}) end)
    t.sleep(0.35)
    t.ok(t.insist(function() return p:switch(staged) end).switched, "the switch")
  end
  t.sleep(0.5)
  t.state(ulp.revert(p, fix), "done")
end
c:send "report\n"
local interrupted, failed, early = c:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
t.eq({interrupted, failed, early}, {"0", "0", "0"}, "waits that ended with EINTR, failed, ended early")
