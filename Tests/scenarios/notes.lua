-- A program with three PT_NOTE segments, the build ID in the second, a GNU hash alone and a fixed address: it is what the
-- scenario says it is, and its build ID is found in the file and in memory.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function readelf(option)
  local child <close> = t.spawn {"readelf", option, "-W", t.path "teller_notes"}
  child:expect_exit(0)
  return child:drain()
end
local headers = readelf "-l"
t.ok(headers:find "EXEC", "it is linked at a fixed address")
local kinds = {}
for kind in headers:match("Program Headers:(.*)Section to Segment"):gmatch "\n  (%u[%u_]*) " do kinds[#kinds + 1] = kind end
local notes = {}
for number, sections in headers:match "Segment Sections%.%.%.(.*)":gmatch "(%d%d) ([^\n]*)" do
  if kinds[tonumber(number) + 1] == "NOTE" then notes[#notes + 1] = sections end
end
t.eq(#notes, 3, "PT_NOTE segments")
t.ok(notes[2]:find(".note.gnu.build-id", 1, true), "the build ID is in the second")
local dynamic = readelf "-d"
t.ok(dynamic:find "GNU_HASH" and not dynamic:find "%(HASH%)", "only the GNU hash")

local c <close> = t.target "teller_notes"
local p <close> = assert(ulp.attach(c.pid))
local wanted = readelf("-n"):match "Build ID: (%x+)"
t.eq(p.libs[1].build_id, wanted, "build ID in memory")
t.eq(p.libs[1].bias, 0, "load bias")
local fix = t.patch("teller_2", {target = t.path "teller_notes"})
t.eq(assert(ulp.container(fix)).target_build_id, wanted, "build ID in the file")
c:ask("tell", "tell=40\n", {reject = "tell=1040"})
t.state(ulp.trigger(p, fix), "done")
c:ask("tell", "tell=1040\n", {reject = "tell=40"})
t.state(ulp.revert(p, fix), "done")
c:ask("tell", "tell=40\n", {reject = "tell=1040"})
t.unharmed(c.pid)
