-- A process that was started without the runtime is told from one that cannot be patched at all.
local t = require "ulp.scenario"
local bad = t.shared "bad"

local c <close> = t.target {"numserv", preload = false}
bad.refuses(c, t.patch "dozens_13", "runtime.missing")
c:ask("dozen", "12\n", {reject = "13"})
