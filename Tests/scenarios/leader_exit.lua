-- The main thread has ended, so the process's own number belongs to a zombie; the rest is patched as usual.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "leader_exit"
c:ask("a", "12\n", {reject = "13"})
t.wait_until(function() return t.states(c.pid):find "Z" end)
t.ok(t.states(c.pid):find "Z", "the leader is a zombie")

local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
t.state(ulp.trigger(p, fix), "done")
c:ask("b", "13\n", {reject = "12"})
t.unharmed(c.pid)
t.state(ulp.check(p, fix), "done")
t.state(ulp.revert(p, fix), "done")
c:ask("c", "12\n", {reject = "13"})
t.unharmed(c.pid)
