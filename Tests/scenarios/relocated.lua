-- timeout: 30
-- The program unloads a patched library and runs other code at the same addresses: a thread there is in no detour of ours.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"relocated", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
c:ask("number", "number=1.")
t.state(ulp.trigger(p, t.patch "number_2"), "done")
c:ask("number", "number=2.")
c:ask("swap", "swap=0.")

local fix = t.patch "dozens_13"
for _ = 1, 5 do
  t.state(ulp.trigger(p, fix), "done")
  c:ask("tell", "derailed=0 dozen=13.", {reject = "derailed=1"})
  t.state(ulp.revert(p, fix), "done")
  c:ask("tell", "derailed=0 dozen=12.", {reject = "derailed=1"})
end
t.unharmed(c.pid)
