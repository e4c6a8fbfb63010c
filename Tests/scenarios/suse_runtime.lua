-- timeout: 90
-- Our shell drives SUSE's libpulp: the same verbs patch, check, replace and take back, and what its own tool would leave half
-- done or switched off for ever does not arise.
local t = require "ulp.scenario"
local ulp = require "ulp"

local theirs = t.path "suse/libpulp.so"
local c <close> = t.target {"numserv", preload = theirs}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
  t.eq({runtime:state(), runtime:error_state()}, {"idle", 0}, "the runtime is usable")
end

t.eq({runtime.kind, runtime:version(), runtime:universe()}, {"suse", "0.3.17", nil})
t.eq(runtime:messages(), "libpulp loaded...\n")
serves(12, 100)

-- Looking stops nothing and changes nothing.
local before = t.snapshot(c.pid)
t.ok(not ulp.check(p, dozens).applied)
t.ok(tostring(ulp.plan(p, dozens)):find("dozen at 0x", 1, true), "the plan names the function")
t.eq(ulp.trigger(p, dozens, {dry_run = true}).state, "skipped")
t.eq(#ulp.patches(p), 0)
t.unchanged(c.pid, before)

local result = t.state(ulp.trigger(p, dozens), "done", "applied")
t.eq(result.runtime, "suse")
t.ok(result.pause_us > 0, "the pause is known")
serves(13, 100)
t.ok(ulp.check(p, dozens).applied)
t.state(ulp.trigger(p, dozens), "already")
t.eq(ulp.patches(p)[1].path, dozens)
t.eq(ulp.patches(p)[1].target, "libdozens.so.0")

-- Two libraries; one that fails takes the others back.
t.state(ulp.revert(p, dozens), "done")
serves(12, 100)
t.state(ulp.revert(p, dozens), "already")
t.state(ulp.trigger(p, {dozens, hundreds}), "done", "a set")
serves(13, 200)
t.state(ulp.revert(p, {dozens, hundreds}), "done")
serves(12, 100)
t.refused("target.not_loaded", function() return ulp.trigger(p, {dozens, t.patch "version_1"}) end)
serves(12, 100)
t.eq(#ulp.patches(p), 0, "nothing is applied")

-- Replacing, and stacked versions.
t.state(ulp.trigger(p, dozens), "done")
local successor = t.patch("dozens_13", {as = "successor", units = {"dozen:dozens_13", "! the same again"}})
t.state(ulp.trigger(p, successor), "done", "on top")
t.state(ulp.revert(p, dozens), "done", "from below")
serves(13, 100)
t.ok(ulp.check(p, successor).applied and not ulp.check(p, dozens).applied)
t.state(ulp.replace(p, "libdozens.so.0", dozens), "done", "replaced")
t.ok(ulp.check(p, dozens).applied and not ulp.check(p, successor).applied)
t.state(ulp.revert_all(p, "libdozens.so.0"), "done")
serves(12, 100)

-- Switched off, and on again.
t.state(ulp.trigger(p, hundreds), "done")
t.state(ulp.set_patchable(p, false), "done")
t.refused("runtime.disabled", function() return ulp.trigger(p, dozens) end)
c:ask("hundred", "200\n", {reject = "100"})
t.state(ulp.set_patchable(p, false), "already")
t.state(ulp.set_patchable(p, true), "done")
t.state(ulp.revert(p, hundreds), "done")
serves(12, 100)

-- The primitives: what an entry returns, and bytes that make no sense.
t.eq(runtime:enter("__ulp_trigger", "\7").value, 256)
t.eq(runtime:enter("__ulp_check_patched", ("\0"):rep(32)).value, 0)
t.eq(runtime:enter("__ulp_revert_all", "libdozens.so.0\0").value, 284)
t.eq(runtime:enter("__ulp_revert_all", "libnothing.so\0").value, 276)
t.refused("usage", function() return runtime:enter "__ulp_state" end)
t.refused("container.malformed", function() return runtime:enter("__ulp_trigger", ("x"):rep(524288)) end)
serves(12, 100)
t.eq(runtime:queue(), {})
