-- timeout: 180
-- A container whose constructor crashes, aborts, throws, sends signals, ends the program or does not return is forced out and
-- unloaded again; the program never learns of it.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function containers(p)
  local found = 0
  p:refresh()
  for _, library in ipairs(p.libs) do
    if library.name:match "^misdeed_" then found = found + 1 end
  end
  return found
end

-- What each does, and what is said of it. Where the constructor calls libc by a jump, its own frame is gone.
local misdeeds = {
  segv = {code = "call.fault", cause = "signal", signal = 11, constructor = "begin", address = 0},
  null_call = {code = "call.fault", cause = "signal", signal = 11, address = 0},
  bus = {code = "call.fault", cause = "signal", signal = 7, constructor = "begin"},
  ill = {code = "call.fault", cause = "signal", signal = 4, constructor = "begin"},
  fpe = {code = "call.fault", cause = "signal", signal = 8, constructor = "begin"},
  trap = {code = "call.fault", cause = "signal", signal = 5, constructor = "begin"},
  overflow = {code = "call.fault", cause = "stack_overflow", signal = 11, constructor = "begin"},
  abort = {code = "call.fault", cause = "signal", signal = 6, constructor = "begin"},
  throw = {code = "call.fault", cause = "signal", signal = 6},
  raise = {code = "call.fault", cause = "signal", signal = 15},
  kill = {code = "call.fault", cause = "signal", signal = 9},
  sigsys = {code = "call.fault", cause = "signal", signal = 31},
  deaf_segv = {code = "call.fault", cause = "signal", signal = 11, constructor = "begin", address = 0},
  altstack_segv = {code = "call.fault", cause = "signal", signal = 11, constructor = "begin"},
  deaf = {code = "call.timeout", cause = "timeout", constructor = "begin", forced = true},
  to_leader = {code = "call.fault", cause = "signal", signal = 2},
  leave = {code = "call.fault", cause = "exit_group", constructor = "begin"},
  execute = {code = "call.fault", cause = "execve", constructor = "begin"},
  spin = {code = "call.timeout", cause = "timeout", constructor = "begin", forced = true},
  sleep = {code = "call.timeout", cause = "timeout", constructor = "begin", forced = true},
  allocate = {code = "call.timeout", cause = "timeout", constructor = "begin", forced = true},
  mutex = {code = "call.timeout", cause = "timeout", constructor = "begin", forced = true},
}
local names = {}
for name in pairs(misdeeds) do names[#names + 1] = name end
table.sort(names)

--- One process goes through all of it, twice, and serves all the time.
local function provoke(c, ask, patience)
  local p <close> = assert(ulp.attach(c.pid))
  local before = t.snapshot(c.pid)
  for _ = 1, 2 do
    for _, name in ipairs(names) do
      local expected = misdeeds[name]
      local timeout = expected.cause == "timeout" and patience or t.patience
      local fix = t.patch("misdeed_" .. name)
      local err = t.raises(expected.code, function() return ulp.trigger(p, fix, {timeout = timeout}) end)
      for fact, value in pairs(expected) do t.eq(err[fact], value, name .. ": " .. fact) end
      t.unharmed(c.pid)
      if not err.unloaded then
        -- On a busy machine a thread may not come to a stop in which that can be seen: then it is the next one's work.
        local is_passing = err.message:find "did not stop in time" or err.message:find "cannot be unwound"
        t.ok(is_passing, name .. ": unloaded: " .. err.message)
        t.wait_until(function() return t.insist(function() return p:runtime():recover() end) and containers(p) == 0 end)
      end
      t.eq(containers(p), 0, name .. ": loaded containers")
      t.eq(p:runtime():state(), "idle", name .. ": no operation is pending")
      ask(12)
    end
  end
  -- The first thread that a program starts makes libc handle signal 33, so only the masks are compared.
  t.eq(t.snapshot(c.pid).threads[c.pid]:match "^%x+", before.threads[c.pid]:match "^%x+", "signal mask")
  local fix = t.patch "dozens_13"
  t.state(ulp.trigger(p, fix), "done", "the loader works as before")
  ask(13)
  t.state(ulp.revert(p, fix), "done", "and the way back")
  ask(12)
end

do
  local c <close> = t.target {"numserv", timeout = 20}
  provoke(c, function(number) c:ask("dozen", number .. "\n", {reject = tostring(25 - number)}) end, 0.3)
  c:send "quit\n"
  c:expect_exit(0)
end

-- A program with more threads, to which a signal would be delivered at once, and which counts every register it loses.
do
  local c <close> = t.target {"threads", "4", timeout = 20}
  local line = "wrong=0 registers=0 idle=%%d+ dozen=%d%%."
  provoke(c, function(number) c:ask("tell", line:format(number), {pattern = true}) end, 1)
end

-- Under a filter that ends the program for whatever it does not list: it is asked about a call that is not made, too.
do
  local c <close> = t.target {"hard", "allowed", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  for _, name in ipairs {"leave", "execute", "segv"} do
    local expected, fix = misdeeds[name], t.patch("misdeed_" .. name)
    local err = t.raises(expected.code, function() return ulp.trigger(p, fix, {seccomp = "ignore"}) end)
    t.eq({err.cause, err.signal}, {expected.cause, expected.signal}, name .. " under a filter")
    c:ask("tell", "dozen=12.", {reject = "dozen=13."})
    t.unharmed(c.pid)
  end
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "the loader works as before")
  c:ask("tell", "dozen=13.", {reject = "dozen=12."})
end

-- abort(3) gave its lock back: the program's own abort, and that of another thread, end it as ever.
do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_abort") end)
  c:signal "ABRT"
  t.eq(t.ok(c:wait(5), "the program ends").signal, 6, "how it ends")
end
