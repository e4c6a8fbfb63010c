-- timeout: 60
-- A target that is idle in poll.
local t = require "ulp.scenario"
t.shared "idle"("poll", true)
