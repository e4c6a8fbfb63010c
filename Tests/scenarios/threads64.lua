-- timeout: 120
-- A process of 64 threads, busy and asleep, is switched as a whole: after a change no thread gets an old result.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libthreads64", code = "int dozen(void) { return 12; }"}
local program = t.cc {kind = "program", as = "threads64", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdatomic.h>
  #include <stdint.h>
  #include <stdio.h>
  #include <unistd.h>
  int dozen(void);
  enum { threads = 64 };
  static atomic_long olds[threads], news[threads], odd;
  static void *run(void *argument) {
    intptr_t self = (intptr_t)argument;
    for (;;) {
      for (int i = 0; i < 100; i++) {
        int result = dozen();
        ++*(result == 12 ? &olds[self] : result == 13 ? &news[self] : &odd);
      }
      if (self >= 4) usleep(5000); /* four are busy, the others are mostly asleep */
    }
    return NULL;
  }
  int main(void) {
    char line[80];
    setvbuf(stdout, NULL, _IONBF, 0);
    for (intptr_t i = 0; i < threads; i++) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, run, (void *)i)) return 2;
    }
    /* How many threads have got old and new results since the last question. */
    for (puts("ready"); fgets(line, sizeof line, stdin);) {
      int old = 0, new = 0;
      for (int i = 0; i < threads; i++) {
        old += atomic_exchange(&olds[i], 0) > 0;
        new += atomic_exchange(&news[i], 0) > 0;
      }
      printf("old=%d new=%d odd=%ld.\n", old, new, (long)odd);
    }
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local c <close> = t.target {program, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
t.eq(#p.threads, 65, "threads")
local function tally()
  local old, new = c:ask("?", "old=(%d+) new=(%d+) odd=0%.\n", {pattern = true, reject = "odd=[1-9]"})
  return {old = tonumber(old), new = tonumber(new)}
end
--- What was counted before the change and right at it is thrown away; then each thread must have its turn, in time.
local function shows(expected, rejected)
  t.sleep(0.05)
  tally()
  local most, late = 0, 0
  for attempt = 1, 40 do
    t.sleep(0.1 + attempt / 80) -- beside other work it takes longer until each has had a turn
    local seen = tally()
    -- A thread that had no processor since counts a call of before the change now: once.
    late = late + seen[rejected]
    t.ok(late <= 64, "each thread counts a call of the other version once at most")
    most = math.max(most, seen[expected])
    if most == 64 and seen[rejected] == 0 then break end
    if attempt == 40 then t.eq(seen[rejected], 0, "threads with results of the other version") end
  end
  t.eq(most, 64, "threads with results of this version")
end
t.switches(p, fix, {old = "old", new = "new"}, shows, 5)
