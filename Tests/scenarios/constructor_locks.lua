-- timeout: 90
-- A constructor that is kept from sending signals, changes the user, or faults inside of libc leaves no lock of a thread
-- behind; where it may leave another one, the refusal says so.
local t = require "ulp.scenario"
local ulp = require "ulp"

local sources = t.here .. "/../targets/"
local library = t.cc {kind = "library", as = "libward.so", source = sources .. "libraries/libward.c"}
local program = t.cc {kind = "program", as = "ward", source = sources .. "programs/ward.c", libraries = {library}}

local function patch(name, body)
  return t.cc {
    as = name .. ".so", target = library, units = {ward = "ward_2"}, libraries = {library}, code = [[
      #define _GNU_SOURCE
      #include <pthread.h>
      #include <signal.h>
      #include <stdio.h>
      #include <stdlib.h>
      #include <string.h>
      #include <unistd.h>
      extern pthread_t ward_threads[2];
      static void *rest(void *unused) { for (;;) pause(); return unused; }
      static int other(void) { return pthread_equal(pthread_self(), ward_threads[0]); }
      __attribute__((constructor)) static void begin(void) { ]] .. body .. [[ }
      int ward_2(void) { return 13; }
      void *ward_keep[] = {rest, other};]],
  }
end

--- The program's own use of threads works, and it is as it was.
local function works(c, answer)
  c:ask("threads", "threads=0.", {reject = "threads=[^0]"})
  c:ask("ward", ("ward=%d."):format(answer), {reject = ("ward=%d."):format(25 - answer)})
  t.unharmed(c.pid)
end

-- Signals to the program's threads are not sent; libc comes to its end and gives the lock back.
for name, body in pairs {
  kill_other = "pthread_kill(ward_threads[other()], SIGUSR1);",
  kill_self = "pthread_kill(pthread_self(), SIGUSR1);",
  queue_other = "pthread_sigqueue(ward_threads[other()], SIGUSR1, (union sigval){0});",
} do
  local c <close> = t.target {program, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  for _ = 1, 2 do
    local said = t.raises("call.fault", function() return ulp.trigger(p, patch(name, body)) end)
    t.eq({said.cause, said.unloaded}, {"signal", true}, name)
    works(c, 12)
  end
  c:ask("signals", "signals=0.")
end

-- What libc sends for itself, and to threads of the constructor's own, is nobody's harm.
for name, body in pairs {
  change_group = "if (setegid(getegid())) abort();",
  cancel_own = "pthread_t own; pthread_create(&own, 0, rest, 0); pthread_cancel(own); pthread_join(own, 0);",
} do
  local c <close> = t.target {program, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  t.state(ulp.trigger(p, patch(name, body)), "done", name)
  works(c, 13)
  t.state(ulp.revert(p, patch(name, body)), "done", name)
  works(c, 12)
end

-- A fault in a function of libc that locks may leave the lock, which nobody can tell; in others nothing is left.
for name, expected in pairs {
  print = {body = [[volatile long address = 8; printf("%s\n", (char *)address);]], inside = true},
  copy = {body = "volatile long address = 8; memcpy((char *)address, (char *)address + 64, 4096);"},
  plain = {body = "*(volatile int *)8 = 1;"},
  ended = {body = "abort();"},
} do
  local c <close> = t.target {program, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local said = t.raises("call.fault", function() return ulp.trigger(p, patch(name, expected.body)) end)
  t.eq(said.inside ~= nil, expected.inside == true, name .. ": inside of " .. tostring(said.inside))
  t.eq(said.hint:find("unharmed", 1, true) == nil, expected.inside == true, name .. ": " .. said.hint)
  works(c, 12)
end
