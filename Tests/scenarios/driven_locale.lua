-- timeout: 120
-- A thread changes locales all the time when SUSE's tool has a container loaded that the loader refuses: its message is
-- translated under the locale's lock, for which nobody waits while that thread stands still.
local t = require "ulp.scenario"
local suse = t.shared "suse"
local program = t.cc {kind = "program", as = "locales", libraries = {t.path "libsecret.so.0"}, code = [[
  #include <locale.h>
  #include <pthread.h>
  #include <stdio.h>
  #include <unistd.h>
  int peek(void);
  static void *turn(void *unused) {
    for (;; usleep(500))
      for (int i = 0; i < 20000; i++) setlocale(LC_ALL, "C"), freelocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
    return unused;
  }
  int main(void) {
    char line[80];
    pthread_t thread;
    pthread_create(&thread, NULL, turn, NULL);
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("peek=%d.\n", peek());
  }
]]}
local imports = t.patch "secret_import"
local c <close> = t.target {program, timeout = 20}
for _ = 1, 40 do
  local found = suse.run("--timeout", "3000", "trigger", c.pid, imports)
  t.ok(found.name == "EDLOPEN" or found.name == "EAGAIN", found.text)
end
suse.expect("EDLOPEN", "trigger", c.pid, imports)
c:ask("?", "peek=40.", {reject = "peek=1040"})
