-- timeout: 120
-- A patched function is called by a signal handler that interrupts dlopen and dlclose: a detour takes no lock and asks no loader.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libasunsafe", code = "int dozen(void) { return 12; }"}
local plugin = t.cc {kind = "library", as = "libplugin.so", code = "int plugin(void) { return 1; }"}
local program = t.cc {kind = "program", as = "asunsafe", libraries = {library}, code = [[
  #include <dlfcn.h>
  #include <pthread.h>
  #include <signal.h>
  #include <stdatomic.h>
  #include <stdio.h>
  #include <sys/time.h>
  #include <unistd.h>
  int dozen(void);
  static atomic_long handled, in_loader, olds, news, odd, loads, failures;
  static _Thread_local volatile int loading;

  static void on_alarm(int number) {
    int result = dozen();
    ++*(result == 12 ? &olds : result == 13 ? &news : &odd);
    in_loader += loading;
    handled += number == SIGALRM;
  }
  static void *answer(void *unused) {
    char line[80];
    while (fgets(line, sizeof line, stdin)) {
      long before = in_loader;
      while (in_loader < before + 20) usleep(500);
      atomic_store(&olds, 0);
      atomic_store(&news, 0);
      before = in_loader;
      while (in_loader < before + 20) usleep(500);
      printf("old=%d new=%d odd=%ld failures=%ld.\n", olds > 0, news > 0, (long)odd, (long)failures);
    }
    return unused;
  }
  int main(int argc, char **argv) {
    pthread_t thread;
    sigset_t alarm_only;
    struct itimerval often = {{0, 300}, {0, 300}};
    setvbuf(stdout, NULL, _IONBF, 0);
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
    if (pthread_create(&thread, NULL, answer, NULL)) return 2;
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm, .sa_flags = SA_RESTART}, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (puts("ready");; loads++) {
      loading = 1;
      void *handle = dlopen(argv[argc - 1], RTLD_NOW);
      if (!handle || dlclose(handle)) failures++;
      loading = 0;
    }
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local c <close> = t.target {program, plugin, timeout = 20}
t.switches(c, fix, {old = "old=1 new=0", new = "old=0 new=1"}, function(new, old)
  c:ask("?", new .. " odd=0 failures=0.\n", {reject = {old, "old=1 new=1"}})
end, 5)
t.ok(ulp.patches(c.pid), "the process answers")
