-- timeout: 60
-- A target that is idle in futex.
local t = require "ulp.scenario"
t.shared "idle"("futex", true)
