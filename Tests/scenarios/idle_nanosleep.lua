-- timeout: 60
-- A target that is idle in nanosleep.
local t = require "ulp.scenario"
t.shared "idle"("nanosleep", true)
