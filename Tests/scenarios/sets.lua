-- Several containers are one change: all in force with one switch, or none; and replacing leaves no moment without a patch.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end

local before = p:runtime():universe()
local result = t.state(ulp.trigger(p, {dozens, hundreds}), "done", "two libraries")
t.eq(result.universe, before + 1, "one step of the universe")
serves(13, 200)
t.eq(#ulp.patches(p), 2, "applied patches")
t.state(ulp.revert(p, {dozens, hundreds}), "done", "both back")
t.eq(p:runtime():universe(), before + 2, "one step again")
serves(12, 100)

-- One of the set cannot be applied: nothing is.
t.refused("target.not_loaded", function() return ulp.trigger(p, {dozens, t.patch "version_1"}) end)
serves(12, 100)
t.eq(#ulp.patches(p), 0, "applied patches")
t.refused("container.duplicate", function() return ulp.trigger(p, {dozens, t.patch("dozens_13", {as = "again"})}) end)
serves(12, 100)

-- Replacing: the old one out, the new one in, with one switch.
t.state(ulp.trigger(p, dozens), "done")
local successor = t.patch("dozens_13", {as = "successor", units = {"dozen:dozens_13", "! the same again"}})
local universe = p:runtime():universe()
t.state(ulp.replace(p, "libdozens.so.0", successor), "done", "replaced")
t.eq(p:runtime():universe(), universe + 1, "one step")
t.ok(not ulp.check(p, dozens).applied, "the old one is out")
t.ok(ulp.check(p, successor).applied, "the new one is in")
serves(13, 100)
t.state(ulp.replace(p, "libdozens.so.0", successor), "already", "nothing left to replace")
t.state(ulp.revert(p, successor), "done")
serves(12, 100)

-- A list of processes: each has its own result, and one that is gone spoils nothing.
local other <close> = t.target "numserv"
local results = ulp.trigger({c.pid, 999999999, other.pid}, dozens)
t.eq({results[1].state, results[2].state, results[3].state}, {"done", "failed", "done"}, "states of a list")
t.eq(results[2].code, "process.not_found")
serves(13, 100)
other:ask("dozen", "13\n", {reject = "12"})
