-- timeout: 60
-- A patch is applied and reverted while numbered signals arrive: each is handled once and in order.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"signals", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
c:ask("dozen", "12\n", {reject = "13"})

local count = 4000
local storm <close> = t.spawn {t.path "sigstorm", tostring(c.pid), tostring(count), "300", timeout = 30}
local rounds = 0
repeat
  t.state(ulp.trigger(p, fix), "done")
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(p, fix), "done")
  c:ask("dozen", "12\n", {reject = "13"})
  rounds = rounds + 1
until not storm:alive() or rounds >= 200
storm:expect(("sent %d\n"):format(count))
t.ok(rounds >= 2, "patched more than once under the storm")
t.wait_until(function() return tonumber(c:ask("report", "queued=(%d+)", {pattern = true})) >= count end)
c:ask("report", ("usr1=0 queued=%d sum=%d disorder=0."):format(count, count * (count + 1) // 2))
t.unharmed(c.pid)
