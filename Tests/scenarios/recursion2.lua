-- timeout: 120
-- Two functions that call each other are replaced together and one by one; no call in between meets a mixture.
local t = require "ulp.scenario"

local library = t.cc {kind = "library", as = "librecursion2", flags = {"-fno-optimize-sibling-calls", "-fno-inline"}, code = [[
  int odd(int n);
  int even(int n) { return n == 0 ? 1 : 10 + odd(n - 1); }
  int odd(int n) { return n == 0 ? 0 : 100 + even(n - 1); }
]]}
local program = t.cc {kind = "program", as = "recursion2", libraries = {library}, code = [[
  #include <stdio.h>
  int even(int), odd(int);
  int main(void) {
    char line[80];
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("even=%d odd=%d.\n", even(4), odd(4));
  }
]]}
local function patch(name, code)
  return t.cc {as = name, target = library, flags = {"-fno-optimize-sibling-calls"}, code = code}
end
local both = patch("both.so", [[
  #include <ulp.h>
  int odd_2(int n);
  int even_2(int n) { return n == 0 ? 2 : 20 + odd_2(n - 1); }
  int odd_2(int n) { return n == 0 ? 0 : 200 + even_2(n - 1); }
  ULP_REPLACE(even, even_2);
  ULP_REPLACE(odd, odd_2);
]])
local one = patch("one.so", [[
  #include <ulp.h>
  int odd(int n);
  int even_3(int n) { return n == 0 ? 3 : 30 + odd(n - 1); }
  ULP_REPLACE(even, even_3);
]])
local other = patch("other.so", [[
  #include <ulp.h>
  int even(int n);
  int odd_4(int n) { return n == 0 ? 4 : 400 + even(n - 1); }
  ULP_REPLACE(odd, odd_4);
]])

local c <close> = t.target {program}
local function shows(expected, rejected) c:ask("?", expected, {reject = rejected}) end
local old = "even=221 odd=220.\n"
t.switches(c, both, {old = old, new = "even=442 odd=440.\n"}, shows)
t.switches(c, one, {old = old, new = "even=263 odd=260.\n"}, shows)
t.switches(c, {one, other}, {old = old, new = "even=863 odd=864.\n"}, shows)
