-- timeout: 180
-- A sample of scripts/torture: a few rounds of every case.
local t = require "ulp.scenario"

local cases = dofile(t.here .. "/../../scripts/torture.d/cases.lua")
for _, name in ipairs(cases.names) do
  local result = cases[name](name == "threads64" and 3 or name == "flat" and 100 or 8)
  t.ok(result.rounds > 0, name)
end
