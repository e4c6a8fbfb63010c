-- timeout: 180
-- Fifteen threads in malloc, dlopen, dlclose and dlsym all the time: patches come and go many times, and nothing hangs.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libdeadlock", code = "int dozen(void) { return 12; }"}
local plugin = t.cc {kind = "library", as = "libplugin.so", code = "int plugin(void) { return 1; }"}
local program = t.cc {kind = "program", as = "deadlock", libraries = {library}, code = [[
  #include <dlfcn.h>
  #include <pthread.h>
  #include <stdatomic.h>
  #include <stdint.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <unistd.h>
  int dozen(void);
  enum { threads = 15 };
  static const char *plugin;
  static atomic_long rounds[threads], failures;

  /* Leaves the other threads, and other processes, something of the processor. */
  static void turn(intptr_t self) {
    if (++rounds[self] % 256 == 0) usleep(2000);
  }
  static void *allocate(void *argument) {
    intptr_t self = (intptr_t)argument;
    for (unsigned n = (unsigned)self;; n = n * 1664525 + 1013904223, turn(self)) {
      char *block = realloc(malloc(16 + n % 4000), 16 + n % 70000);
      if (!block) failures++;
      else *block = 1;
      free(block);
    }
    return NULL;
  }
  static void *load(void *argument) {
    for (;; turn((intptr_t)argument)) {
      void *handle = dlopen(plugin, RTLD_NOW);
      if (!handle || !dlsym(handle, "plugin") || dlclose(handle)) failures++;
    }
    return NULL;
  }
  static void *look_up(void *argument) {
    for (;; turn((intptr_t)argument))
      if (!dlsym(RTLD_DEFAULT, "malloc") || dlsym(RTLD_DEFAULT, "no_such_function")) failures++;
    return NULL;
  }
  int main(int argc, char **argv) {
    char line[80];
    plugin = argv[argc - 1];
    for (intptr_t i = 0; i < threads; i++) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, i % 3 == 0 ? allocate : i % 3 == 1 ? load : look_up, (void *)i)) return 2;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    for (puts("ready"); fgets(line, sizeof line, stdin);) {
      int idle = 0;
      for (int i = 0; i < threads; i++) idle += !atomic_exchange(&rounds[i], 0);
      printf("dozen=%d idle=%d failures=%ld.\n", dozen(), idle, (long)failures);
    }
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local c <close> = t.target {program, plugin, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local function answer(number, other)
  return tonumber((c:ask("?", ("dozen=%d idle=(%%d+) failures=0%%.\n"):format(number), {
    pattern = true, reject = {"dozen=" .. other, "failures=[1-9]"},
  })))
end
answer(12, 13)
for _ = 1, 8 do
  t.state(ulp.trigger(p, fix, {timeout = 20}), "done")
  answer(13, 12)
  t.state(ulp.revert(p, fix, {timeout = 20}), "done")
  answer(12, 13)
end
t.unharmed(c.pid)

-- Every thread goes on; on a busy machine it may take a while until each had its turn.
answer(12, 13)
local idle
for _ = 1, 10 do
  t.sleep(0.5)
  idle = answer(12, 13)
  if idle == 0 then break end
end
t.eq(idle, 0, "threads that stand still")
