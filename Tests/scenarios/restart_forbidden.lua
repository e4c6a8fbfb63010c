-- timeout: 180
-- Threads asleep in calls that the kernel goes on with by restart_syscall(2), under a filter that ends the process for it: they
-- are stopped, switched and borrowed as others are, their calls return what they would have, and none of them too early.
local t = require "ulp.scenario"
local ulp = require "ulp"

local restarts = t.shared "restarts"
local library, program, tell = restarts.library, restarts.program, restarts.tell
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local milliseconds = 1500
-- What is left of these is known: to the kernel that is asked to write it down, or as they name the end.
local exact = {nanosleep_rest = "0 0", clock_nanosleep_rest = "0 0", futex_until = "-1 ETIMEDOUT", ppoll = "0 0",
  cond_timedwait = "-1 ETIMEDOUT", sem_timedwait = "-1 ETIMEDOUT"}
-- These begin again.
local begun_again = {nanosleep = "0 0", clock_nanosleep = "0 0", poll = "0 0", futex = "-1 ETIMEDOUT"}
local endless = {poll_forever = "1 0", futex_wait = "0 0"}

local function until_over(c, ...)
  local groups = {...}
  return t.wait_until(function()
    t.sleep(0.05)
    local calls, all = tell(c), true
    for _, group in ipairs(groups) do
      for name in pairs(group) do all = all and calls[name].state == "over" end
    end
    return all and calls
  end, "the end of all calls")
end

local function start(...)
  local directory = t.directory() .. "/" .. select("#", ...)
  assert(os.rename(assert(ulp.core.make_temporary_directory "ulpsh-scenario-"), directory))
  return t.target {program, tostring(milliseconds), directory, timeout = 40, ...}
end

local control <close> = start()
local c <close> = start "no-restart"
local p <close> = assert(ulp.attach(c.pid))
t.ok(t.read_file(("/proc/%d/status"):format(c.pid)):find "Seccomp:\t2", "it has a filter")
t.state(ulp.trigger(p, fix), "done")
t.state(ulp.revert(p, fix), "done")
control:ask("go", "gone.\n")
local began = t.clock()
c:ask("go", "gone.\n")
local calls = tell(c)
for _, receipt in ipairs {false, true} do
  t.state(ulp.trigger(p, fix, {receipt = receipt}), "done")
  c:ask("dozen", "dozen=13.\n", {reject = "dozen=12"})
  t.state(ulp.revert(p, fix, {receipt = receipt}), "done")
  c:ask("dozen", "dozen=12.\n", {reject = "dozen=13"})
end
for _, group in ipairs {exact, begun_again, endless} do
  for name in pairs(group) do
    local pid, _, tid = p:call("getpid", {}, {thread = calls[name].tid, timeout = 20})
    t.eq({pid, tid}, {c.pid, calls[name].tid}, "call on the thread of " .. name)
  end
end
t.unharmed(c.pid)
local last_stop = math.ceil((t.clock() - began) * 1000)

local lateness = 0
calls = until_over(control, exact, begun_again)
for _, group in ipairs {exact, begun_again} do
  for name in pairs(group) do lateness = math.max(lateness, calls[name].took - milliseconds) end
end
calls = until_over(c, exact, begun_again)
for _, group in ipairs {exact, begun_again} do
  for name, result in pairs(group) do
    local call, longest = calls[name], milliseconds + (group == begun_again and last_stop or 0) + 4 * lateness + 1000
    t.eq(call.result, result, name)
    t.ok(call.took >= milliseconds - 5, ("%s took %d ms, its time is %d ms"):format(name, call.took, milliseconds))
    t.ok(call.took <= longest, ("%s took %d ms, at most %d ms expected"):format(name, call.took, longest))
  end
end
for name in pairs(endless) do t.eq(calls[name].state, "waiting", name) end
c:ask("end", "ended.\n")
calls = until_over(c, endless)
for name, result in pairs(endless) do t.eq(calls[name].result, result, name) end
c:send_end()
c:expect "bye\n"

-- A signal that a thread ignores wakes it only because it is traced. (One to the whole process, which another thread may take
-- first, wakes it without a stop: nothing can be done for it then.)
for _, call in ipairs {"nanosleep", "poll", "futex"} do
  local sleeper <close> = t.target {"idle", call, "300", "no-restart", timeout = 20}
  local q <close> = assert(ulp.attach(sleeper.pid))
  local plain = t.patch "dozens_13"
  do
    local staged <close> = t.insist(function() return assert(q:runtime()):stage(assert(ulp.plan(q, plain))) end)
    for _ = 1, 20 do
      sleeper:send "ignored\n"
      t.sleep(0.005)
    end
    t.ok(t.insist(function() return q:switch(staged) end).switched, "the switch")
    for _ = 1, 20 do
      sleeper:send "ignored\n"
      t.sleep(0.005)
    end
  end
  sleeper:ask("dozen", "13\n", {reject = "12"})
  t.sleep(0.7)
  sleeper:send "report\n"
  local interrupted, failed, early = sleeper:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
  t.eq({interrupted, failed, early}, {"0", "0", "0"}, call .. ": waits that ended with EINTR, failed, ended early")
  t.unharmed(sleeper.pid)
end

-- A constructor that sleeps is looked at again and again, and forced out.
do
  local sleeper <close> = t.target {"idle", "nanosleep", "300", "no-restart", timeout = 20}
  local q <close> = assert(ulp.attach(sleeper.pid))
  local said = t.refused("call.timeout", function() return ulp.trigger(q, t.patch "misdeed_sleep", {timeout = 0.5}) end)
  t.ok(said.forced, "it was forced to return: " .. tostring(said))
  sleeper:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(sleeper.pid)
end

-- Without the runtime a borrowed thread is put back from outside.
do
  local sleeper <close> = t.spawn {t.path "idle", "nanosleep", "300", "no-restart", timeout = 20}
  sleeper:expect "ready\n"
  local q <close> = assert(ulp.attach(sleeper.pid))
  for _ = 1, 3 do
    local pid, _, tid = q:call("getpid", {}, {thread = sleeper.pid, timeout = 20})
    t.eq({pid, tid}, {sleeper.pid, sleeper.pid}, "a call on the thread that sleeps")
  end
  t.sleep(0.7)
  sleeper:send "report\n"
  local interrupted, failed, early = sleeper:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
  t.eq({interrupted, failed, early}, {"0", "0", "0"}, "waits that ended with EINTR, failed, ended early")
  t.unharmed(sleeper.pid)
end
