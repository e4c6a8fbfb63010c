-- Whether code of a container may run as soon as it is loaded is the operator's decision; the plan names it.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local slow = t.patch "dozens_slow"
local before = t.snapshot(c.pid)

t.eq(ulp.plan(p, slow).applies[1].constructors, {"begin"}, "the plan lists them")
t.eq(ulp.plan(p, t.patch "dozens_13").applies[1].constructors, {}, "and only them")
t.eq(ulp.plan(p, t.patch "misdeed_throw").applies[1].brings[1], "libstdc++.so.6", "and libraries that bring their own")
local err = t.raises("container.constructors", function()
  return ulp.trigger(p, slow, {constructors = "refuse"})
end)
t.eq(err.constructors, {"begin"}, "who is refused")
t.raises("container.constructors", function()
  return ulp.trigger(p, slow, {constructors = "refuse", dry_run = true})
end)
t.raises("usage", function() return ulp.trigger(p, slow, {constructors = "ask"}) end)
-- One of a set is enough, in whatever way it is to come into force.
local light = t.patch "dozens_13"
for _, refused in ipairs {
  function() return ulp.trigger(p, {t.patch "hundreds_200", slow}, {constructors = "refuse"}) end,
  function() return ulp.trigger(p, slow, {constructors = "refuse", deliver = "memfd"}) end,
  function() return ulp.replace(p, "libdozens.so.0", slow, {constructors = "refuse"}) end,
  function() return ulp.trigger(p, t.patch "misdeed_throw", {constructors = "refuse"}) end,
} do
  t.refused("container.constructors", refused)
  t.unchanged(c.pid, before)
end
local tool <close> = t.ulpsh {"trigger", "--constructors", "refuse", "-p", tostring(c.pid), slow}
tool:expect "[container.constructors]"
tool:expect_exit(1)
local json <close> = t.ulpsh {"trigger", "--json", "--constructors", "refuse", "-p", tostring(c.pid), slow}
json:expect '"constructors":["begin"]'
json:expect_exit(1)
t.unchanged(c.pid, before)
c:ask("dozen", "12\n", {reject = "13"})

local warned = t.state(ulp.trigger(p, slow, {constructors = "warn"}), "done")
t.ok(warned.warnings and warned.warnings[1]:find "begin", "the warning names it")
c:ask("dozen", "13\n", {reject = "12"})
t.state(ulp.revert(p, slow), "done")
local aloud <close> = t.ulpsh {"trigger", "--constructors", "warn", "-p", tostring(c.pid), slow}
aloud:expect("warning: .*dozens_slow.so runs constructors in process %d+ when it is loaded: begin", {pattern = true})
aloud:expect_exit(0)
t.state(ulp.revert(p, slow), "done")
local silent = t.state(ulp.trigger(p, light, {constructors = "refuse"}), "done")
t.eq(silent.warnings, nil, "nothing to warn of")
c:ask("dozen", "13\n", {reject = "12"})
