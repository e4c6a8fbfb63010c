-- Refusals for which SUSE's tool has numbers and that nothing else provokes: this very process, a runtime of another version, a
-- function that is chosen when it is bound.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local self = math.tointeger(tonumber(t.read_file("/proc/self/stat"):match "^%d+"))
t.refused("process.self", function() return ulp.trigger(self, fix) end)

do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  local version = assert(p:symbol "__ulp_ext") + 8 -- behind its magic number
  p:write(version, string.pack("<I4", 9))
  local other <close> = assert(ulp.attach(c.pid))
  local said = t.refused("runtime.version", function() return ulp.trigger(other, fix) end)
  t.eq({said.found, said.expected}, {9, 2})
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

local library = t.cc {kind = "library", as = "libchosen", code = [[
  static int one(void) { return 1; }
  static void *choose(void) { return one; }
  int number(void) __attribute__((ifunc("choose")));
]]}
t.refused("entry.indirect", function()
  return ulp.cc {target = library, units = {number = "number_2"}, code = "int number_2(void) { return 2; }"}
end)
