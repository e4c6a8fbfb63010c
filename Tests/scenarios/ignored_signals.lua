-- timeout: 30
-- A signal that a program ignores comes to a thread only while that is traced: it ends none of its waits, neither while an
-- operation is staged nor after its switch.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
for _, call in ipairs {"epoll_wait", "poll", "nanosleep", "futex"} do
  local c <close> = t.target {"idle", call, "300", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local function ignore()
    for _ = 1, 30 do
      c:send "ignored\n"
      t.sleep(0.003)
    end
  end
  do
    local staged <close> = t.insist(function() return assert(p:runtime()):stage(assert(ulp.plan(p, fix))) end)
    ignore()
    t.ok(t.insist(function() return p:switch(staged) end).switched, "the switch")
    ignore()
  end
  c:ask("dozen", "13\n", {reject = "12"})
  t.sleep(0.4)
  c:send "report\n"
  local interrupted, failed, early = c:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
  t.eq({interrupted, failed, early}, {"0", "0", "0"}, call .. ": waits that ended with EINTR, failed, ended early")
  t.unharmed(c.pid)
end
