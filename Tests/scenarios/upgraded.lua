-- The package of a patched library is brought up to date while the program runs: the file is removed or another one. The program
-- still runs the old library, which is patched by its build ID; the new file's patch is refused.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function library(number)
  return t.cc {kind = "library", as = "libold" .. number, code = ([[
    static __attribute__((noinline)) int inner(void) { __asm__ volatile(""); return %d; }
    int outer(void) { __asm__ volatile(""); return inner() + 0; }
  ]]):format(number * 10)}
end
local path = t.directory() .. "/libupgraded.so.0"
t.write_file(path, t.read_file(library(1)))
local code = "int outer_2(void) { return 11; } int inner_2(void) { return 12; }"
local outer = t.cc {as = "outer.so", target = path, code = code, units = {outer = "outer_2"}}
local inner = t.cc {as = "inner.so", target = path, code = code, units = {inner = "inner_2"}}

local c <close> = t.target {"caller", path, timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
local function serves(number)
  local others = {}
  for _, other in ipairs {10, 11, 12, 20} do if other ~= number then others[#others + 1] = "outer=" .. other end end
  c:ask("outer", ("outer=%d\n"):format(number), {reject = others})
  t.unharmed(c.pid)
end
local function there_and_back(what)
  for fix, number in pairs {[outer] = 11, [inner] = 12} do
    serves(10)
    t.state(ulp.trigger(p, fix), "done", what)
    serves(number)
    t.state(ulp.check(p, fix), "done", what)
    t.state(ulp.revert(p, fix), "done", what)
  end
  serves(10)
end
there_and_back "as it was loaded"
t.state(ulp.trigger(p, outer), "done", "before the upgrade")
assert(os.remove(path))
serves(11)
t.state(ulp.check(p, outer), "done", "after the upgrade")
t.state(ulp.revert(p, outer), "done", "after the upgrade")
there_and_back "removed"
t.write_file(path, t.read_file(library(2)))
there_and_back "replaced"
local newer = t.cc {as = "newer.so", target = path, code = "int outer_3(void) { return 21; }", units = {outer = "outer_3"}}
local before = t.snapshot(c.pid)
t.refused("target.build_id", function() return ulp.trigger(p, newer) end)
t.unchanged(c.pid, before)
serves(10)
