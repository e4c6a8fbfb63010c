-- What libpulp.so asks of a program that preloads it, read from the file: libc alone, nothing private of it, no relocation in
-- the text, no search path, and both hash tables.
local t = require "ulp.scenario"
local core = require "ulp.core"

local function readelf(...)
  local child <close> = t.spawn {"readelf", "-W", ..., core.runtime_path}
  child:expect_exit(0)
  return child:drain()
end

local dynamic = readelf "-d"
local needed = {}
for name in dynamic:gmatch "%(NEEDED%)[^%[]*%[([^%]]*)%]" do needed[#needed + 1] = name end
t.eq(needed, {"libc.so.6"}, "libraries it needs")
t.ok(dynamic:find "%(SONAME%)[^%[]*%[libpulp%.so%.0%]", "its name")
t.ok(dynamic:find "%(HASH%)" and dynamic:find "%(GNU_HASH%)", "both hash tables")
for _, tag in ipairs {"TEXTREL", "RPATH", "RUNPATH"} do t.ok(not dynamic:find(tag, 1, true), "no " .. tag) end

local versions = readelf "--version-info"
t.ok(versions:find "GLIBC_2", "it has version needs")
t.ok(not versions:find "GLIBC_PRIVATE", "nothing private of the C library")

-- No function of the C library is wrapped, and no segment is writable and executable.
for line in readelf("--dyn-syms"):gmatch "[^\n]+" do
  local bind, index, name = line:match "^%s*%d+: %x+%s+%S+%s+%S+%s+(%S+)%s+%S+%s+(%S+)%s+([^@%s]+)"
  if bind and index ~= "UND" then
    local is_ours = name:find "^__ulp_" or name:find "^gdb_ulp_" or name:find "^libpulp" or name:find "^LIBPULP"
    t.ok(is_ours, "an exported name of its own: " .. name)
  end
end
for flags in readelf("-l"):gmatch "\n  LOAD%s+%S+ %S+ %S+ %S+ %S+ (...)" do
  t.ok(not (flags:find "W" and flags:find "E"), "no segment is writable and executable: " .. flags)
end
t.ok(readelf("-l"):find "\n  GNU_STACK[^\n]* RW  ", "the stack is not executable")
