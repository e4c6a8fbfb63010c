-- timeout: 60
-- A target that is idle in read.
local t = require "ulp.scenario"
t.shared "idle"("read", false)
