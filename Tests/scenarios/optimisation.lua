-- timeout: 180
-- Libraries and patches built with -O0, -O2 and -O3, each against each, behave the same.
local t = require "ulp.scenario"

local code = [[
  #include <string.h>
  struct item { int price, count; char name[24]; };
  static int sum_of(const struct item *items, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += items[i].price * items[i].count;
    return sum;
  }
  int total(int count) {
    struct item items[8];
    for (int i = 0; i < 8; i++) {
      items[i].price = i + 1;
      items[i].count = 2;
      memset(items[i].name, 'a' + i, sizeof items[i].name);
    }
    return sum_of(items, count);
  }
]]
local levels = {"-O0", "-O2", "-O3"}
local patched = code:gsub("total", "total_2"):gsub("i %+ 1", "i + 10")

for _, level in ipairs(levels) do
  local library = t.cc {kind = "library", as = "liboptimised", code = code, flags = {level}}
  local program = t.cc {kind = "program", as = "optimised", libraries = {library}, flags = {level}, code = [[
    #include <stdio.h>
    int total(int count);
    int main(void) {
      char line[80];
      for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("total=%d.\n", total(4));
    }
  ]]}
  local c <close> = t.target {program}
  for _, other in ipairs(levels) do
    local fix = t.cc {
      as = "fix" .. other .. ".so", target = library, code = patched, flags = {other}, units = {total = "total_2"},
    }
    t.switches(c, fix, {old = 20, new = 92}, function(new, old)
      c:ask("?", ("total=%d.\n"):format(new), {reject = ("total=%d."):format(old)})
    end, 1)
  end
end
