-- timeout: 120
-- The main thread waits in one system call after the other when SUSE's tool comes: the call is told from computing, the patch
-- is applied, and the wait goes on as if nothing had been. Where the kernel answers EINTR to any stop, that is all it notices.
local t = require "ulp.scenario"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

for call, timed in pairs {read = false, accept = false, poll = true, nanosleep = true, futex = true, epoll_wait = true} do
  local milliseconds = 400
  local c <close> = t.target {"idle", call, tostring(milliseconds), timeout = 20}
  local function report()
    c:send "report\n"
    local waits, interrupted, failed, early = c:expect("waits=(%d+) interrupted=(%d+) failed=(%d+) early=(%d+) longest=%d+%.\n",
      {pattern = true})
    t.eq(failed, "0", call .. ": waits that failed")
    if call ~= "epoll_wait" then t.eq({interrupted, early}, {"0", "0"}, call .. ": waits that ended with EINTR, or early") end
    return tonumber(waits)
  end
  for _ = 1, 5 do
    for _, words in ipairs {{"trigger", c.pid, fix}, {"--revert", "trigger", c.pid, fix}} do
      local deadline, found = t.clock() + 20
      repeat -- between two waits the thread computes for a moment
        found = suse.run(table.unpack(words))
      until found.name ~= "EAGAIN" or t.clock() > deadline
      t.eq(found.name, "ENONE", call .. ": " .. found.text)
      local new = words[1] == "trigger"
      c:ask("dozen", new and "13\n" or "12\n", {reject = new and "12" or "13"})
    end
    t.sleep(0.05)
  end
  if timed then
    t.sleep(2.5 * milliseconds / 1000)
    report()
    t.wait_until(function() return report() >= 1 end, call .. ": the program goes on waiting")
  else
    t.eq(report(), 0, call .. ": nothing came")
    c:send "poke\n"
    local waits = t.wait_until(function()
      t.sleep(0.02)
      local count = report()
      return count > 0 and count
    end)
    t.eq(waits, 1, call .. ": what came")
  end
  t.unharmed(c.pid)
end
