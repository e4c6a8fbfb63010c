-- timeout: 30
-- A process that lies in its journal: a clear refusal, whatever it says, and never a crash of the tool.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
t.state(ulp.trigger(p, fix), "done")

-- Members of __ulp_ext (pulp_abi.h).
local ext = assert(p:symbol "__ulp_ext")
local slots, _, operation, transitions, patches = p:unpack(ext + 40, "<I8I8I8I8I8")
local state = p:unpack(ext + 192, "<I8")
t.ok(slots ~= 0)
local patch = p:unpack(patches, "<I8")

--- Writes `bytes`, looks and tries to change, and writes back what was there. An answer is all that is asked for.
local function lie(address, bytes)
  local truth = p:read(address, #bytes)
  p:write(address, bytes)
  for _, try in ipairs {
    function() return ulp.patches(p) end, function() return ulp.check(p, fix) end, function() return ulp.trigger(p, fix) end,
    function() return assert(p:runtime()):recover() end,
  } do
    local done, result = pcall(try)
    t.ok(done or result.code, "an error with a code: " .. tostring(result))
  end
  p:write(address, truth)
end

local never = ("\xff"):rep(8)
-- An operation whose only function is at an address with which one cannot calculate.
p:write(operation + 8, string.pack("<I4I4", 3, 1))
for _, entry in ipairs {0, 1, 8, -1, -8, 1 << 47, math.mininteger} do
  lie(transitions, string.pack("<i8i8i8I4I4", entry, entry, entry, 0, 0))
end
lie(transitions, string.pack("<i8i8i8I4I4", slots, -1, -1, 8191, 4))
p:write(operation + 8, string.pack("<I4I4", 0, 0))
lie(operation + 12, "\xff\xff\xff\xff")
-- Lists that lead nowhere, into themselves, and to where there is no next.
for _, head in ipairs {never, string.pack("<i8", -40), string.pack("<I8", patch + 8)} do
  lie(patches, head)
  lie(state + 8, head)
end
lie(patch + 96, string.pack("<I8", patch))
local units = p:unpack(patch + 48, "<I8")
lie(units, never)
lie(patch + 48, never)

c:ask("dozen", "13\n")
t.state(ulp.check(p, fix), "done")
t.state(ulp.revert(p, fix), "done")
