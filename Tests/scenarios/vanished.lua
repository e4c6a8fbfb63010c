-- timeout: 30
-- The program unloads a library of the set after the plan was staged: nothing is written over what is there now, the other
-- library of the set is not switched alone, and the operation can be given up.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"relocated", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local number, dozen = t.patch "number_2", t.patch "dozens_13"
local runtime = assert(p:runtime())
do
  local staged <close> = runtime:stage(assert(ulp.plan(p, {number, dozen})))
  c:ask("swap", "swap=0.")
  t.refused("entry.modified", function() return p:switch(staged) end)
  c:ask("tell", "derailed=0 dozen=12.", {reject = "derailed=1"})
end
t.eq(runtime:state(), "idle")
t.state(ulp.trigger(p, dozen), "done")
c:ask("tell", "derailed=0 dozen=13.", {reject = "derailed=1"})
t.unharmed(c.pid)
