-- timeout: 120
-- Libraries whose own calls do not go through the PLT (-Bsymbolic) are patched like others: callers inside see it as well.
local t = require "ulp.scenario"

local function library(name, number, unit)
  return t.cc {kind = "library", as = name, link = {"-Wl,-Bsymbolic"}, code = ([[
    int %s(void) { __asm__(""); return %d; }
    int %s_squared(void) { return %s() * %s(); }
  ]]):format(unit, number, unit, unit, unit)}
end
local dozens, hundreds = library("libdozens", 12, "dozen"), library("libhundreds", 100, "hundred")
local program = t.cc {kind = "program", as = "numserv", libraries = {dozens, hundreds}, code = [[
  #include <stdio.h>
  int dozen(void), dozen_squared(void), hundred(void), hundred_squared(void);
  int main(void) {
    char line[80];
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);)
      printf("dozen=%d %d hundred=%d %d.\n", dozen(), dozen_squared(), hundred(), hundred_squared());
  }
]]}
-- The calls inside are direct ones: the library does not ask the loader for the function.
for _, path in ipairs {dozens, hundreds} do
  local relocations = t.spawn {"readelf", "-rW", path}
  relocations:expect_exit(0)
  t.ok(not relocations.transcript:find "dozen" and not relocations.transcript:find "hundred", "no call goes through the PLT")
end

local thirteen = t.cc {
  as = "thirteen.so", target = dozens, units = {dozen = "thirteen"}, code = "int thirteen(void) { return 13; }",
}
local more = t.cc {as = "more.so", target = hundreds, units = {hundred = "more"}, code = "int more(void) { return 200; }"}
local c <close> = t.target {program}
local function shows(expected, rejected) c:ask("?", expected, {reject = rejected}) end
t.switches(c, thirteen, {old = "dozen=12 144 hundred=100 10000.\n", new = "dozen=13 169 hundred=100 10000.\n"}, shows)
t.switches(c, more, {old = "dozen=12 144 hundred=100 10000.\n", new = "dozen=12 144 hundred=200 40000.\n"}, shows)
t.switches(c, {thirteen, more}, {
  old = "dozen=12 144 hundred=100 10000.\n", new = "dozen=13 169 hundred=200 40000.\n",
}, shows)
