-- timeout: 120
-- A plan tells what else leads to a function or stays beside it: aliases, IFUNCs that chose it or are resolved by it, copies of
-- the library under another path or in a namespace of dlmopen; and an IFUNC itself is refused with what can be patched instead.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libnamed.so.0", code = [[
  #define EACH __attribute__((noinline, noclone))
  EACH int plain(void) { __asm__ volatile(""); return 1; }
  int also(void) __attribute__((alias("plain")));
  EACH static int quiet(void) { __asm__ volatile(""); return 2; }
  static int hushed(void) __attribute__((alias("quiet")));
  int heard(void) { return quiet() * 10 + hushed(); }
  EACH int fast(void) { __asm__ volatile(""); return 3; }
  EACH int slow(void) { __asm__ volatile(""); return 4; }
  static void *choose(void) { return fast; }
  int selected(void) __attribute__((ifunc("choose")));
  EACH static int inner_fast(void) { __asm__ volatile(""); return 5; }
  static void *choose_inner(void) { return inner_fast; }
  static int inner(void) __attribute__((ifunc("choose_inner")));
  int outer(void) { return inner(); }
  EACH int lonely(void) { __asm__ volatile(""); return 6; }
]]}
local program = t.cc {kind = "program", as = "named", libraries = {library}, link = {"-Wl,-z,now"}, code = [[
  #define _GNU_SOURCE
  #include <dlfcn.h>
  #include <stdio.h>
  #include <string.h>
  int plain(void), also(void), heard(void), fast(void), selected(void), outer(void), lonely(void);
  int main(int argc, char **argv) {
    char word[16];
    int (*copy)(void) = lonely, (*second)(void) = lonely;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) copy = (int (*)(void))dlsym(dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW), "plain");
    if (!copy) copy = lonely;
    if (argc > 2) second = (int (*)(void))dlsym(dlopen(argv[2], RTLD_NOW), "plain");
    for (puts("ready"); scanf("%15s", word) == 1;)
      printf("%d,%d heard=%d %d,%d,%d %d copies=%d,%d.\n", plain(), also(), heard(), fast(), selected(), outer(), lonely(),
             copy(), second());
  }
]]}
local code = "int f1(void) { return 7; } int f2(void) { return 8; } int f3(void) { return 9; }"
local function patch(units) return t.cc {target = library, as = units[1]:match "^%w+" .. ".so", code = code, units = units} end
local c <close> = t.target {program, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))

--- The plan's warnings, without those of other matters.
local function warnings(process, units) return assert(ulp.plan(process, patch(units))).warnings end
local function is(units, ...)
  local found = warnings(p, units)
  t.eq(#found, select("#", ...), "warnings: " .. table.concat(found, "; "))
  for index, text in ipairs {...} do t.ok(found[index]:find(text, 1, true), found[index]) end
end
is({"lonely:f1"})
is({"plain:f1"}, "plain is also called also: calls by that name reach the replacement, too")
is({"also:f1"}, "also is also called plain: ")
is({"quiet:f1"}, "quiet is also called hushed: ")
is({"fast:f1"}, "fast is what the IFUNC selected chose in this process: ")
is({"slow:f1"})
is({"choose:f1"}, "choose is the resolver of the IFUNC selected, which has chosen already: ")
is({"inner_fast:f1"}, "inner_fast is what the IFUNC inner chose in this process: ")
is({"plain:f1", "fast:f2", "lonely:f3"}, "plain is also called also", "fast is what the IFUNC selected chose")

-- What it tells is true, and part of the result, of the plan's text, and of JSON.
local all = patch {"plain:f1", "quiet:f2", "fast:f3"}
local function shows(expected, rejected) c:ask("?", expected, {reject = rejected}) end
t.switches(c, all, {old = "1,1 heard=22 3,3,5 6 copies=6,6.\n", new = "7,7 heard=88 9,9,5 6 copies=6,6.\n"}, shows)
local result = t.state(ulp.trigger(p, all), "done")
t.eq(#result.warnings, 3, "warnings in the result")
t.state(ulp.revert(p, all), "done")
local tool <close> = t.ulpsh {"trigger", "--dry-run", "-p", tostring(c.pid), all, timeout = 20}
tool:expect "warning: plain is also called also"
tool:expect_exit(0)
local line <close> = t.ulpsh {"trigger", "--json", "-p", tostring(c.pid), all, timeout = 20}
line:expect_exit(0)
t.eq(#require "dkjson".decode(line:drain()).warnings, 3, "warnings in JSON")
t.state(ulp.revert(p, all), "done")

-- An IFUNC by its name is no function with an entry.
local refused = t.raises("entry.indirect", function() return patch {"selected:f1"} end)
t.ok(refused.hint ~= "", refused.hint)

-- Copies: told with their places, and left as they are.
local copy = t.write_file(t.directory() .. "/libnamed.so.0", t.read_file(library))
for form, arguments in pairs {namespace = {library}, both = {library, copy}} do
  local d <close> = t.target {program, timeout = 20, table.unpack(arguments)}
  local q <close> = assert(ulp.attach(d.pid))
  local found = warnings(q, {"plain:f1", "lonely:f2"})
  t.eq(#found, form == "both" and 3 or 2, table.concat(found, "; "))
  local path = library:match "[^/]*$"
  if form == "both" then
    t.ok(table.remove(found, 2):find(("has a second copy of %s, %s at 0x"):format(path, copy), 1, true), "another path")
  end
  local place = found[2]:match "another copy of [%w%p]+ at (0x%x+), in a namespace of its own %(dlmopen%), which is not patched"
  t.ok(place, found[2])
  local mapped
  for _, map in ipairs(q.maps) do mapped = mapped or map.first == math.tointeger(place) and map.path end
  t.eq(mapped, library, "what is mapped there")
  t.state(ulp.trigger(q, patch {"plain:f1"}), "done")
  d:ask("?", form == "both" and "7,7 heard=22 3,3,5 6 copies=1,1.\n" or "7,7 heard=22 3,3,5 6 copies=1,6.\n")
  t.unharmed(d.pid)
end

-- A library that is in such a namespace alone is not loaded for a patch; the refusal says where it is.
do
  local d <close> = t.target {program, t.path "libnumber.so.0", timeout = 20}
  local before = t.snapshot(d.pid)
  local refusal = t.refused("target.not_loaded", function() return ulp.trigger(d.pid, t.patch "number_2") end)
  local text = "libnumber%.so%.0 is not loaded in process %d+ but in a namespace of its own %(dlmopen%) at 0x%x+"
  t.ok(refusal.message:find(text), refusal.message)
  t.unchanged(d.pid, before)
end
