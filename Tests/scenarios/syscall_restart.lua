-- timeout: 180
-- Every system call that waits is interrupted by stops and by calls on its very thread: each returns what it would have, when
-- it would have, as a copy of the program that nobody touched shows.
local t = require "ulp.scenario"
local ulp = require "ulp"

local restarts = t.shared "restarts"
local library, program, tell = restarts.library, restarts.program, restarts.tell
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local milliseconds = 2000
local timed = {
  poll = "0 0", ppoll = "0 0", select = "0 0", pselect = "0 0", epoll_wait = "0 0", epoll_pwait = "0 0",
  nanosleep = "0 0", nanosleep_rest = "0 0", clock_nanosleep = "0 0", clock_nanosleep_rest = "0 0",
  clock_nanosleep_until = "0 0", futex = "-1 ETIMEDOUT", futex_until = "-1 ETIMEDOUT", cond_timedwait = "-1 ETIMEDOUT",
  sem_timedwait = "-1 ETIMEDOUT", semtimedop = "-1 EAGAIN", sigtimedwait = "-1 EAGAIN", io_getevents = "0 0",
  mq_timedreceive = "-1 ETIMEDOUT", recv_timed = "-1 EAGAIN", read_timed = "-1 EAGAIN", send_timed = "-1 EAGAIN",
  accept_timed = "-1 EAGAIN", connect_timed = "-1 EAGAIN", read_timerfd = "8 0",
}
-- The kernel knows the end of the others. These answer EINTR to every stop and are issued again for their whole time, as nothing
-- in the program may be changed: each is over after its time since the last stop at the latest.
local begun_again = {}
for name in ([[epoll_wait epoll_pwait semtimedop sigtimedwait io_getevents recv_timed read_timed send_timed accept_timed
  connect_timed]]):gmatch "%S+" do begun_again[name] = true end
local answered = {
  read_pipe = "1 0", write_pipe = "3 0", read_terminal = "2 0", recv = "1 0", accept = "0 0", wait4 = "5 0", waitid = "6 0",
  flock = "0 0", fcntl_lock = "0 0", semop = "0 0", msgrcv = "64 0", msgsnd = "0 0", read_eventfd = "8 0", futex_wait = "0 0",
  sem_wait = "0 0", open_fifo = "0 0", sigwaitinfo = "0 0", poll_forever = "1 0", epoll_forever = "1 0", select_forever = "1 0",
  -- These end by a signal and in no other way.
  sigsuspend = "-1 EINTR", pause = "-1 EINTR",
}

local function start(name)
  local directory = t.directory() .. "/" .. name
  assert(os.rename(assert(ulp.core.make_temporary_directory "ulpsh-scenario-"), directory))
  return t.target {program, tostring(milliseconds), directory, timeout = 30}
end

--- Waits until every call is in this state.
local function all_are(c, state, which)
  return t.wait_until(function()
    t.sleep(0.05)
    local calls, all = tell(c), true
    for name in pairs(which) do all = all and calls[name].state == state end
    return all and calls
  end, ("all calls are %s"):format(state))
end

local control <close> = start "control"
local c <close> = start "changed"
local p <close> = assert(ulp.attach(c.pid))
-- A first time before the waits begin, so that what is new to the loader is done.
t.state(ulp.trigger(p, fix), "done")
t.state(ulp.revert(p, fix), "done")
control:ask("go", "gone.\n")
local began = t.clock()
c:ask("go", "gone.\n")
for name, call in pairs(tell(c)) do
  t.ok(timed[name] or answered[name], name .. " is known")
  t.ok(call.tid > 0, name .. " has its thread")
end
local calls = all_are(c, "waiting", answered)

-- While all of them wait: two changes, between them a call on each thread, then two changes more.
t.state(ulp.trigger(p, fix), "done")
c:ask("dozen", "dozen=13.\n", {reject = "dozen=12"})
for _, group in ipairs {timed, answered} do -- first those that do not wait for ever
  for name in pairs(group) do
    local pid, _, tid = p:call("getpid", {}, {thread = calls[name].tid, timeout = 10})
    t.eq({pid, tid}, {c.pid, calls[name].tid}, "call on the thread of " .. name)
  end
end
t.state(ulp.revert(p, fix), "done")
c:ask("dozen", "dozen=12.\n", {reject = "dozen=13"})
for _ = 1, 2 do
  t.state(ulp.trigger(p, fix), "done")
  t.state(ulp.revert(p, fix), "done")
end

local last_stop = math.ceil((t.clock() - began) * 1000)

-- Nothing has ended that waits for something else than time. The copy tells how late the machine makes a thread.
local lateness = 0
for _, which in ipairs {"control", "changed"} do
  calls = all_are(which == "control" and control or c, "over", timed)
  for name, result in pairs(timed) do
    local call = calls[name]
    t.eq(call.result, result, which .. ": " .. name)
    t.ok(call.took >= milliseconds - 5, ("%s: %s took %d ms, its time is %d ms"):format(which, name, call.took, milliseconds))
    if which == "control" then
      lateness = math.max(lateness, call.took - milliseconds)
    else
      local longest = milliseconds + (begun_again[name] and last_stop or 0) + 4 * lateness + 1000
      t.ok(call.took <= longest, ("%s took %d ms, at most %d ms expected"):format(name, call.took, longest))
    end
  end
  for name in pairs(answered) do t.eq(calls[name].state, "waiting", which .. ": " .. name) end
end

for which, process in pairs {control = control, changed = c} do
  process:ask("end", "ended.\n")
  calls = all_are(process, "over", answered)
  for name, result in pairs(answered) do t.eq(calls[name].result, result, which .. ": " .. name) end
  process:send_end()
  process:expect "bye\n"
end
