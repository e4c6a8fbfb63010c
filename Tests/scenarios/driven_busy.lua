-- timeout: 240
-- SUSE's tool stops the world in the middle of malloc, dlopen and malloc_trim: the runtime says "not now", never hangs.
local t = require "ulp.scenario"
local churn = t.shared "suse_churn"
local fix = t.patch "dozens_13"

local function look(c) c:ask("tell", "failures=0 ", {reject = "failures=1"}) end

for _, what in ipairs {"malloc", "dlopen", "trim"} do churn({"churn", what, "4", timeout = 60}, 40, fix, look) end

-- A target at rest is patched nearly every time.
local counts = churn({"numserv", timeout = 60}, 100, fix, function(c) c:ask("dozen", "12\n", {reject = "13"}) end)
t.ok(counts.ok > 50, ("%d of 100 runs were refused at rest"):format(counts.again))
