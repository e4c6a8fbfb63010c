-- timeout: 60
-- The threads hold the lock of the allocator or of the loader most of the time; none may be borrowed while it does.
local t = require "ulp.scenario"
t.shared "churn"("both")
