-- timeout: 120
-- A borrowed thread whose callee sleeps, a constructor or a called function, loses the kernel's notes of its own wait; that
-- wait goes on all the same, returns what it would have, and not too early.
local t = require "ulp.scenario"
local ulp = require "ulp"

local restarts = t.shared "restarts"
local program, tell = restarts.program, restarts.tell
local slow = t.cc {
  as = "slow.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_2"}, code = [[
    #include <poll.h>
    #include <time.h>
    __attribute__((constructor)) static void begin(void) {
      struct timespec wait = {0, 3000000};
      nanosleep(&wait, 0);
      poll(0, 0, 3);
    }
    int dozen_2(void) { return 13; }]],
}
local milliseconds = 1500
local waits = {
  nanosleep = "0 0", nanosleep_rest = "0 0", clock_nanosleep = "0 0", clock_nanosleep_rest = "0 0", poll = "0 0", ppoll = "0 0",
  futex = "-1 ETIMEDOUT", futex_until = "-1 ETIMEDOUT", cond_timedwait = "-1 ETIMEDOUT", sem_timedwait = "-1 ETIMEDOUT",
}
local unnamed = {futex = true, futex_until = true, clock_nanosleep_rest = true}

--- Has `borrow(p, tid, name)` done on the thread of every wait, and looks at what these return.
local function disturb(what, preload, borrow)
  local directory = t.directory() .. "/" .. what:gsub("%W", "_")
  t.spawn({"/bin/mkdir", directory}):expect_exit(0)
  local c <close> = t.target {program, tostring(milliseconds), directory, preload = preload, timeout = 40}
  local p <close> = assert(ulp.attach(c.pid))
  c:ask("go", "gone.\n")
  local calls = tell(c)
  for name in pairs(waits) do borrow(p, calls[name].tid, name) end
  t.unharmed(c.pid)
  local deadline, over = t.clock() + 30, false
  while not over do
    t.ok(t.clock() < deadline, what .. ": all waits come to their end")
    t.sleep(0.05)
    calls, over = tell(c), true
    for name in pairs(waits) do over = over and calls[name].state == "over" end
  end
  for name, result in pairs(waits) do
    t.eq(calls[name].result, result, ("%s: %s"):format(what, name))
    t.ok(calls[name].took >= milliseconds - 5, ("%s: %s took only %d ms"):format(what, name, calls[name].took))
  end
  c:ask("end", "ended.\n")
end

--- Once stopped, as on a busy machine before it is borrowed, a thread goes on by restart_syscall(2). Then its code tells what it
--- waits in, except behind syscall(3).
local function sleep_on(p, tid, name)
  local result, _, carrier = p:call(unnamed[name] and "getpid" or "usleep", {2000}, {thread = tid, timeout = 20})
  t.eq({result, carrier}, {unnamed[name] and p.pid or 0, tid})
end

disturb("a called function", true, sleep_on)
disturb("a called function, twice", true, function(...)
  for _ = 1, 2 do sleep_on(...) end
end)
disturb("without the runtime", false, sleep_on)

-- The same by a constructor, on the only thread there is to be borrowed.
for _, call in ipairs {"nanosleep", "poll"} do
  local c <close> = t.target {"idle", call, "300", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  for _, receipt in ipairs {false, true} do
    t.state(ulp.trigger(p, slow, {receipt = receipt}), "done")
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, slow, {receipt = receipt}), "done")
    c:ask("dozen", "12\n", {reject = "13"})
    t.sleep(0.1)
  end
  t.sleep(0.7)
  c:send "report\n"
  local interrupted, failed, early = c:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
  t.eq({interrupted, failed, early}, {"0", "0", "0"}, call .. ": waits that ended with EINTR, failed, ended early")
  t.unharmed(c.pid)
end
