-- timeout: 120
-- Threads are cancelled inside old and new functions: cleanup handlers run, in the patch's frames too, and the patch can be
-- taken back afterwards; threads that are cancelled while patches come and go end as cancelled.
local t = require "ulp.scenario"
local ulp = require "ulp"

-- Without -fexceptions a handler is a place to jump to, which also serves a thread that is cancelled between two calls; the
-- C library unwinds the stack up to it.
local library = t.cc {kind = "library", as = "libcancel", code = [[
  #include <pthread.h>
  #include <unistd.h>
  __thread int inside;
  int left[8]; /* what cleanup handlers have told, by slot */
  static void leave(void *slot) { left[*(int *)slot] = 1; }
  /* Waits for a byte: a cancellation point. */
  int wait_for(int fd, int slot) {
    char byte;
    int result;
    pthread_cleanup_push(leave, &slot);
    result = (int)read(fd, &byte, 1);
    pthread_cleanup_pop(0);
    return result;
  }
  /* Computes for ever, to be cancelled at any instruction. */
  int compute(int slot) {
    volatile long turns = 0;
    pthread_cleanup_push(leave, &slot);
    for (;;) turns++;
    pthread_cleanup_pop(0);
    return 0;
  }
  int dozen(void) { return 12; }
]]}
local fix = t.cc {as = "fix.so", target = library, code = [[
  #include <pthread.h>
  #include <ulp.h>
  #include <unistd.h>
  extern int left[8];
  static void leave(void *slot) { left[*(int *)slot] = 2; }
  int wait_for_2(int fd, int slot) {
    char byte;
    int result;
    pthread_cleanup_push(leave, &slot);
    result = 10 * (int)read(fd, &byte, 1);
    pthread_cleanup_pop(0);
    return result;
  }
  int compute_2(int slot) {
    volatile long turns = 0;
    pthread_cleanup_push(leave, &slot);
    for (;;) turns += 2;
    pthread_cleanup_pop(0);
    return 0;
  }
  int dozen_2(void) { return 13; }
  ULP_REPLACE(wait_for, wait_for_2);
  ULP_REPLACE(compute, compute_2);
  ULP_REPLACE(dozen, dozen_2);
]]}
local program = t.cc {kind = "program", as = "cancel", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdatomic.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  int wait_for(int fd, int slot), compute(int slot), dozen(void);
  extern int left[8];
  static int ends[2];
  static atomic_int entered, go_on = 1;
  static atomic_long cancelled, odd;

  static void *wait_thread(void *unused) {
    entered = 1;
    return (void *)(long)wait_for(ends[0], 0) + (unused != NULL);
  }
  static void *compute_thread(void *unused) {
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    entered = 1;
    return (void *)(long)compute(1) + (unused != NULL);
  }
  /* Starts a thread, cancels it inside, and tells how it ended and what its handler said. */
  static void one(const char *name, void *(*run)(void *), int slot) {
    pthread_t thread;
    void *result = NULL;
    left[slot] = 0;
    entered = 0;
    pthread_create(&thread, NULL, run, NULL);
    while (!entered) usleep(100);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("%s %s left=%d dozen=%d.\n", name, result == PTHREAD_CANCELED ? "cancelled" : "not cancelled", left[slot], dozen());
  }
  static void *never(void *unused) {
    for (;;) { dozen(); pthread_testcancel(); }
    return unused;
  }
  static void *churn(void *unused) {
    while (go_on) {
      pthread_t thread;
      void *result = NULL;
      pthread_create(&thread, NULL, never, NULL);
      usleep(200);
      pthread_cancel(thread);
      pthread_join(thread, &result);
      ++*(result == PTHREAD_CANCELED ? &cancelled : &odd);
    }
    return unused;
  }
  int main(void) {
    char line[80];
    pthread_t churner = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(ends)) return 2;
    for (puts("ready"); fgets(line, sizeof line, stdin);) {
      if (!strcmp(line, "wait\n")) one("wait", wait_thread, 0);
      if (!strcmp(line, "compute\n")) one("compute", compute_thread, 1);
      if (!strcmp(line, "churn\n")) pthread_create(&churner, NULL, churn, NULL), puts("churning.");
      if (!strcmp(line, "tell\n")) printf("some=%d odd=%ld.\n", cancelled > 100, odd);
      if (!strcmp(line, "stop\n")) go_on = 0, pthread_join(churner, NULL), puts("stopped.");
    }
  }
]]}

local c <close> = t.target {program, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
t.switches(p, fix, {old = {1, 12}, new = {2, 13}}, function(new, old)
  for _, kind in ipairs {"wait", "compute"} do
    c:ask(kind, ("%s cancelled left=%d dozen=%d.\n"):format(kind, new[1], new[2]), {
      reject = {"not cancelled", ("left=%d"):format(old[1]), "left=0", ("dozen=%d"):format(old[2])},
    })
  end
end)
c:ask("churn", "churning.\n")
for _ = 1, 6 do
  t.state(ulp.trigger(p, fix, {timeout = 20}), "done")
  t.state(ulp.revert(p, fix, {timeout = 20}), "done")
end
local function enough() return c:ask("tell", "some=(%d) odd=0%.\n", {pattern = true, reject = "odd=[1-9]"}) == "1" end
t.wait_until(enough, "a hundred threads that are cancelled meanwhile")
c:ask("stop", "stopped.\n")
t.unharmed(c.pid)
