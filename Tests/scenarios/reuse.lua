-- timeout: 60
-- A container that stayed loaded is used again only if all its data is as in the file, relocated: pointers to its own strings and
-- functions and to the program's are; a changed variable, a constructor's work and thread-local variables are not.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.path "libversion.so.0"
local c <close> = t.target {"caller", library, timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
local function shows(number) c:ask("version", ("version=%d\n"):format(number), {reject = "version=" .. 7 - number}) end

local cases = {
  own_strings = {code = [[const char *words[] = {"a", "b"}; int seven(void) { return words[1][0] == 'b' ? 7 : 8; }]]},
  packed = {code = [[const char *words[] = {"a", "b"}; int seven(void) { return words[1][0] == 'b' ? 7 : 8; }]],
    link = {"-Wl,-z,pack-relative-relocs"}},
  own_functions = {code = [[static int inner(void) { return 7; } int (*table[1])(void) = {inner};
    int seven(void) { return table[0](); }]]},
  exported_functions = {code = [[int inner(void) { return 7; } int (*table[1])(void) = {inner};
    int seven(void) { return table[0](); }]]},
  of_the_program = {code = [[extern int getpid(void); int (*table[1])(void) = {getpid};
    int seven(void) { return table[0]() > 1 ? 7 : 8; }]]},
  constants = {code = [[const int words[] = {1, 7, 3}; int at = 1; int seven(void) { return words[at]; }]]},
  cleared = {code = [[int odd[9]; void set(int at) { odd[at] = 1; } int seven(void) { return 7 + odd[3]; }]]},
  initialised = {stale = "changed", code = [[int at = 6; int seven(void) { at++; return 7; }]]},
  last_byte = {stale = "changed", code = [[static volatile char odd[13]; int seven(void) { odd[12] = 1; return 7; }]]},
  pointer = {stale = "changed", code = [[const char *word = "a"; int seven(void) { word++; return 7; }]]},
  constructor = {stale = "changed",
    code = [[static volatile int odd; __attribute__((constructor)) static void make(void) { odd = 7; }
    int seven(void) { return odd; }]]},
  own_instance = {stale = "thread%-local", code = [[__thread int mine = 7; int next(void) { return ++mine; }
    int seven(void) { return mine; }]]},
}

for name, case in pairs(cases) do
  local fix = t.cc {as = name .. ".so", target = library, code = case.code, units = {version = "seven"}, link = case.link}
  shows(0)
  for round = 1, case.stale and 1 or 3 do
    t.state(ulp.trigger(p, fix), "done", ("%s, round %d"):format(name, round))
    shows(7)
    t.eq(t.state(ulp.revert(p, fix), "done").containers[1].state, "retired", name)
    shows(0)
  end
  if case.stale then
    local before = t.snapshot(c.pid)
    local refusal = t.refused("container.stale", function() return ulp.trigger(p, fix) end)
    t.ok(refusal.reason:find(case.stale), name .. ": " .. refusal.reason)
    t.unchanged(c.pid, before)
    shows(0)
    local copy = t.write_file(t.directory() .. "/" .. name .. "_again.so", t.read_file(fix))
    t.state(ulp.trigger(p, copy), "done", name .. ", a copy")
    shows(7)
    t.eq(t.state(ulp.revert(p, copy, {unload = true}), "done").containers[1].state, "unloaded", name)
  end
end

t.unharmed(c.pid)
