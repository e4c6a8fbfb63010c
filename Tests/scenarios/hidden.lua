-- timeout: 120
-- Functions that no other library can see, static or of hidden visibility, are found in .symtab and replaced.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libhidden", code = [[
  __attribute__((noinline, noclone)) static int local(int x) { __asm__(""); return x + 1; }
  __attribute__((noinline, visibility("hidden"))) int hidden(int x) { __asm__(""); return x + 10; }
  __attribute__((noinline, visibility("internal"))) int internal(int x) { __asm__(""); return x + 100; }
  int shown(void) { return local(0) + hidden(0) + internal(0); }
]]}
local program = t.cc {kind = "program", as = "hidden", libraries = {library}, code = [[
  #include <stdio.h>
  int shown(void);
  int main(void) {
    char line[80];
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("shown=%d.\n", shown());
  }
]]}
-- The loader knows none of them.
local dynamic = t.spawn {"nm", "-D", "--defined-only", library}
dynamic:expect_exit(0)
for _, name in ipairs {"local", "hidden", "internal"} do
  t.ok(not dynamic.transcript:find(" " .. name), name .. " is not exported")
end

local code = [[
  int local_2(int x) { return x + 2; }
  int hidden_2(int x) { return x + 20; }
  int internal_2(int x) { return x + 200; }
]]
local c <close> = t.target {program}
local function shows(new, old) c:ask("?", ("shown=%d.\n"):format(new), {reject = ("shown=%d."):format(old)}) end
for name, sum in pairs {["local"] = 112, hidden = 121, internal = 211} do
  local fix = t.cc {as = name .. ".so", target = library, units = {[name] = name .. "_2"}, code = code}
  t.switches(c, fix, {old = 111, new = sum}, shows)
end

-- Without its symbol table the library does not say where they are; what is exported can still be patched.
local stripped = t.directory() .. library:match "/[^/]*$" -- the same file to the loader: its name and its build ID
t.spawn({"strip", "-o", stripped, library}):expect_exit(0)
t.refused("target.function_missing", function()
  return ulp.cc {target = stripped, units = {["local"] = "local_2"}, code = code}
end)
local exported = assert(ulp.cc {target = stripped, units = {shown = "shown_2"}, code = "int shown_2(void) { return 7; }"})
t.switches(c, exported, {old = 111, new = 7}, shows)
