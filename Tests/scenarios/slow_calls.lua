-- timeout: 300
-- A tool whose own system calls are slow, as under strace, still gets through the threads of its target: what watches over a
-- stop of the world takes its time from what it watches.
local t = require "ulp.scenario"
local core = require "ulp.core"

local THREADS = 200

local library = t.cc {kind = "library", as = "libslow", code = "int dozen(void) { return 12; }"}
local program = t.cc {kind = "program", as = "slow", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdio.h>
  #include <unistd.h>
  int dozen(void);
  static void *run(void *argument) { for (;;) usleep(20000); return argument; }
  int main(void) {
    char line[64];
    for (int i = 0; i < ]] .. THREADS .. [[; i++) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, run, NULL)) return 1;
    }
    printf("ready\n"), fflush(stdout);
    while (fgets(line, sizeof line, stdin)) printf("%d\n", dozen()), fflush(stdout);
    return 0;
  }]]}
local fix = t.cc {as = "slow_13", target = library, code = "int dozen_new(void) { return 13; }", units = {dozen = "dozen_new"}}

local c <close> = t.spawn {program, preload = true, timeout = 200}
c:expect "ready\n"
for _, step in ipairs {{"trigger", "13\n", "12\n"}, {"revert", "12\n", "13\n"}} do
  local verb, now, before = table.unpack(step)
  local tool <close> = t.spawn {
    "strace", "-qq", "-o", "/dev/null", core.executable_path, verb, "-p", tostring(c.pid), fix, timeout = 200,
  }
  tool:expect_exit(0)
  t.unharmed(c.pid)
  c:ask("dozen", now, {reject = before})
end
