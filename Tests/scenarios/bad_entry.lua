-- A function that was compiled without room for a detour is named, and nothing near it is touched.
local t = require "ulp.scenario"
local bad = t.shared "bad"

local c <close> = t.target {"caller", t.path "libnumber_unprepared.so.0"}
t.refused("entry.not_prepared", function() return t.patch "number_unprepared_2" end)
-- Packed against a twin that is prepared and has the same build ID.
local fix = t.patch("number_unprepared_2", {target = t.path "other/libnumber_unprepared.so.0"})
local said = bad.refuses(c, fix, "entry.not_prepared")
t.ok(said.message:find("number", 1, true), "the function is named")
c:ask("before", "before=10\n")
c:ask("number", "number=1\n", {reject = "number=2"})
c:ask("after", "after=11\n")
