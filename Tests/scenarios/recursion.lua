-- timeout: 120
-- A function that calls itself is replaced, also while a thread is a thousand calls deep in it: then not before it is out.
local t = require "ulp.scenario"
local ulp = require "ulp"

local true_calls = {"-fno-optimize-sibling-calls", "-fno-inline", "-fno-ipa-cp"}
local library = t.cc {kind = "library", as = "librecursion", flags = true_calls, code = [[
  #include <unistd.h>
  int waits_on = -1;
  /* Through the PLT. */
  int sum(int n) { return n ? n + sum(n - 1) : 0; }
  /* Directly. */
  static int product(int n) { return n > 1 ? n * product(n - 1) : 1; }
  int factorial(int n) { return product(n); }
  int deep(int n) {
    char byte;
    if (n) return deep(n - 1) + 1;
    return (int)read(waits_on, &byte, 1);
  }
]]}
local program = t.cc {kind = "program", as = "recursion", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  int sum(int), factorial(int), deep(int);
  extern int waits_on;
  static int ends[2];
  static void *dive(void *unused) { printf("deep=%d.\n", deep(1000)); return unused; }
  int main(void) {
    char line[80];
    pthread_t thread;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(ends)) return 2;
    waits_on = ends[0];
    for (puts("ready"); fgets(line, sizeof line, stdin);)
      if (!strcmp(line, "dive\n")) pthread_create(&thread, NULL, dive, NULL), pthread_detach(thread), puts("diving.");
      else if (!strcmp(line, "surface\n")) write(ends[1], "x", 1);
      else printf("sum=%d factorial=%d.\n", sum(10), factorial(5));
  }
]]}

-- The new functions call themselves by their own names, or by the old ones, which is once more the new ones.
local own = t.cc {as = "own.so", target = library, flags = true_calls, code = [[
  #include <ulp.h>
  int sum_2(int n) { return n ? 2 * n + sum_2(n - 1) : 0; }
  int product_2(int n) { return n > 1 ? 2 * n * product_2(n - 1) : 1; }
  int deep_2(int n) { return n ? deep_2(n - 1) + 2 : 0; }
  ULP_REPLACE(sum, sum_2);
  ULP_REPLACE(product, product_2);
  ULP_REPLACE(deep, deep_2);
]]}
local through = t.cc {as = "through.so", target = library, flags = true_calls, code = [[
  #include <ulp.h>
  int sum(int n), factorial(int n);
  int sum_3(int n) { return n ? 3 * n + sum(n - 1) : 0; }
  int product_3(int n) { return n > 1 ? 3 * n * factorial(n - 1) : 1; }
  ULP_REPLACE(sum, sum_3);
  ULP_REPLACE(product, product_3);
]]}

local c <close> = t.target {program, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local function shows(expected, rejected) c:ask("?", expected, {reject = rejected}) end
t.switches(p, own, {old = "sum=55 factorial=120.\n", new = "sum=110 factorial=1920.\n"}, shows)
t.switches(p, through, {old = "sum=55 factorial=120.\n", new = "sum=165 factorial=9720.\n"}, shows)

local function dive()
  c:ask("dive", "diving.\n")
  t.asleep(c.pid)
end
dive()
local said = t.refused("patch.blocked", function() return ulp.trigger(p, own, {timeout = 30, blockers = "fail"}) end)
t.eq(said.blockers[1].symbol:match "^[%w_]+", "deep", "the function in the way")
shows("sum=55 factorial=120.\n", "sum=110")
c:ask("surface", "deep=1001.\n", {reject = "deep=2000"})
t.state(ulp.trigger(p, own), "done")
c:ask("dive", "deep=2000.\n", {reject = "deep=1001"}) -- which may come before the word that it dives
shows("sum=110 factorial=1920.\n", "sum=55")
t.state(ulp.revert(p, own), "done")
dive()
c:ask("surface", "deep=1001.\n", {reject = "deep=2000"})
shows("sum=55 factorial=120.\n", "sum=110")
t.unharmed(c.pid)
