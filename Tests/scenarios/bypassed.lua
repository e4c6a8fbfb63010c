-- timeout: 60
-- `livepatchable` names what a patch of a function would not reach: clones that the compiler made for some callers, copies that
-- it put into them; and callers that may count on registers which a new function overwrites.
local t = require "ulp.scenario"
local ulp = require "ulp"

local directory = t.directory()
local function path(name) return directory .. "/" .. name end
local function run(...)
  local program <close> = t.spawn {timeout = 60, ...}
  program:expect_exit(0)
  return program:drain()
end

--- A library built by gcc with these flags, and the survey of its functions by name.
local function surveyed(name, code, ...)
  t.write_file(path(name .. ".c"), code)
  run("/usr/bin/gcc", "-O2", "-g", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-o", path(name), path(name .. ".c"), ...)
  local survey, functions = assert(ulp.livepatchable(path(name))), {}
  for _, one in ipairs(survey.functions) do functions[one.name] = one end
  return functions, survey
end

local code = [[
  int sink;
  struct pair { int a, b; };
  /* Called with a constant here, so that gcc makes a copy for these calls; and kept, because others may call it. */
  __attribute__((noinline)) int scaled(int value, int factor) {
    for (int i = 0; i < value; i++) sink += i * factor;
    return sink;
  }
  int scaled_by_seven(int value) { return scaled(value, 7) + scaled(value + 1, 7); }
  /* Only a member of what it gets is used: the argument becomes that (isra). */
  __attribute__((noinline)) static int first(struct pair *pair) {
    for (int i = 0; i < pair->a; i++) sink += i;
    return sink;
  }
  int first_of(int a) { struct pair pair = {a, 2}; return first(&pair); }
  /* The short way is inlined, the rest is split off (part). */
  int part_of(int *value);
  int careful(int *value) {
    if (value) return 0;
    for (int i = 0; i < 100; i++) sink += i * sink;
    return part_of(&sink) + part_of(&sink) + part_of(&sink);
  }
  int calls_careful(int *value) { return careful(value) + 1; }
  int calls_too(int *value) { return careful(value) + 2; }
  static inline int twice(int value) { return value * 2; }
  int twice_of(int value) { return twice(value) + twice(value + 1); }
  int (*twice_pointer)(int) = twice;
  int alone(int value) { return value + 1; }
  int part_of(int *value) { return *value; }
]]
local room = "-fpatchable-function-entry=16,14"
local functions, survey = surveyed("clones", code, room, "-fipa-cp-clone", "-fno-semantic-interposition")

-- Whatever the compiler made, by nm, is told with the function it was made of, and nothing else is.
local made, kinds = {}, {}
for name, kind in run("/usr/bin/nm", path "clones"):gmatch "%x+ [tT] ([%a_][%w_]*)%.(%a+)" do
  made[name], kinds[kind] = (made[name] or 0) + 1, true
end
t.ok(kinds.constprop or kinds.isra or kinds.part, "this compiler makes clones")
for name, one in pairs(functions) do
  if not name:find(".", 1, true) then t.eq(#(one.clones or {}), made[name] or 0, "clones of " .. name) end
end
t.eq({functions.alone.clones, functions.alone.inlined}, {nil, false})
t.eq({functions.twice.inlined, functions.twice.patchable}, {true, true}, "an inlined function that also exists")
local text = run(require "ulp.core".executable_path, "livepatchable", path "clones")
for name in pairs(made) do
  local one = functions[name]
  if one and one.patchable then t.ok(text:find("not reached: [^\n]*" .. name .. "%.%a+"), name .. " in " .. text) end
end
t.ok(text:find "\n  twice +inlined copies are not reached", text)
t.ok(not text:find "\n  alone ", "nothing is said of the others")

-- Packing a patch of one that has such copies warns of them; and truly, calls that take a copy go on as before.
t.write_file(path "fix.c", "int scaled_2(int value, int factor) { return -value * factor; }\nint alone_2(int v) { return v; }\n")
run("/usr/bin/gcc", "-O2", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-o", path "fix.so", path "fix.c")
local function packed(pair)
  local lines = ("%s\n@%s\n%s\n"):format(path "fix.so", path "clones", pair)
  local _, result = assert(ulp.pack(t.write_file(path "fix.dsc", lines)))
  return result.warnings
end
t.eq(#packed "alone:alone_2", 0, "no copies, no warning")
local warnings = packed "scaled:scaled_2"
t.ok(made.scaled and #warnings == 1, "copies of scaled")
t.ok(warnings[1]:find("fix.dsc:3: calls may take copies that the compiler made of scaled, ", 1, true), warnings[1])
t.ok(warnings[1]:find "scaled%.%a+", warnings[1])

-- Registers: kept in mind by callers where only an attribute makes the room, and not where the option does.
local attribute = "__attribute__((patchable_function_entry(16, 14))) "
local plain = [[
  int sink;
  %sint counted(int value) { sink += value; return sink; }
  int caller(int value) { return counted(value) + value; }
]]
local function warns(of)
  for _, warning in ipairs(of.warnings) do if warning:find("-fipa-ra", 1, true) then return warning end end
end
local _, by_attribute = surveyed("attribute", plain:format(attribute))
t.ok(warns(by_attribute) and warns(by_attribute):find("attribute.c", 1, true), table.concat(by_attribute.warnings, "; "))
text = run(require "ulp.core".executable_path, "livepatchable", path "attribute")
t.ok(text:find "\n  warning: compiled with %-fipa%-ra in force", text)
local _, without = surveyed("without", plain:format(attribute), "-fno-ipa-ra")
local _, unoptimised = surveyed("unoptimised", plain:format(attribute), "-O0")
for name, one in pairs {option = survey, without = without, unoptimised = unoptimised} do t.eq(warns(one), nil, name) end
