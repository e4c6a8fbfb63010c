-- timeout: 60
-- A target that is idle in accept.
local t = require "ulp.scenario"
t.shared "idle"("accept", false)
