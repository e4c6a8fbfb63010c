-- timeout: 120
-- A thread in the part that the compiler split off a function (`.cold`) is inside the function, and in the way: of a patch when
-- the function is the old one, of its revert when it is the new one.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libcold", code = [[
  #include <unistd.h>
  int ends[2];
  __attribute__((noinline, cold)) void rare(void) { char byte; if (read(ends[0], &byte, 1) != 1) _exit(9); }
  int work(int n) {
    if (__builtin_expect(n == 99, 0)) {
      rare();
      return 1;
    }
    return n + 1;
  }
]]}
local program = t.cc {kind = "program", as = "cold", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  int work(int);
  extern int ends[2];
  static void *enter(void *unused) { printf("left=%d.\n", work(99)); return unused; }
  int main(void) {
    char line[80];
    pthread_t thread;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(ends)) return 2;
    for (puts("ready"); fgets(line, sizeof line, stdin);)
      if (!strcmp(line, "enter\n")) pthread_create(&thread, NULL, enter, NULL), puts("entering.");
      else if (!strcmp(line, "leave\n")) write(ends[1], "x", 1);
      else printf("work=%d.\n", work(1));
  }
]]}
local symbols = t.spawn {"nm", library}
symbols:expect_exit(0)
t.ok(symbols.transcript:find "work%.cold", "the compiler has split the function")
local fix = t.cc {as = "fix.so", target = library, units = {work = "work_2"}, code = [[
  #include <unistd.h>
  extern int ends[2];
  __attribute__((noinline, cold)) void rare_2(void) { char byte; if (read(ends[0], &byte, 1) != 1) _exit(9); }
  int work_2(int n) {
    if (__builtin_expect(n == 99, 0)) {
      rare_2();
      return 2;
    }
    return n + 10;
  }
]]}

local c <close> = t.target {program}
local p <close> = assert(ulp.attach(c.pid))
local function shows(new, old) c:ask("?", ("work=%d.\n"):format(new), {reject = ("work=%d."):format(old)}) end
t.switches(p, fix, {old = 2, new = 11}, shows)

--- Sends a thread into the rare part and has the change refused while it is there.
local function in_the_way(change, name)
  c:ask("enter", "entering.\n")
  t.asleep(c.pid)
  t.insist(function() p:stopped(function(threads)
    local inside = false
    for _, thread in ipairs(threads) do
      for _, frame in ipairs(thread:backtrace()) do inside = inside or frame.symbol == name .. ".cold" end
    end
    t.ok(inside, "a thread is in the part")
  end) end)
  local said = t.refused("patch.blocked", function() return change(p, fix, {timeout = 30, blockers = "fail"}) end)
  t.eq(said.blockers[1].symbol:match "^[%w_]+", name, "the function in the way")
end
in_the_way(ulp.trigger, "work")
shows(2, 11)
c:ask("leave", "left=1.\n", {reject = "left=2"})
t.state(ulp.trigger(p, fix), "done")
shows(11, 2)
in_the_way(ulp.revert, "work_2")
shows(11, 2)
c:ask("leave", "left=2.\n", {reject = "left=1"})
t.state(ulp.revert(p, fix), "done")
shows(2, 11)
t.unharmed(c.pid)
