-- timeout: 120
-- Older versions of SUSE's runtime: without the instruction queue they write themselves, without a version their records have no
-- time, without a state of errors they cannot be switched off. What they can do works, and the rest is refused by name.
local t = require "ulp.scenario"
local ulp = require "ulp"

local versions = {
  {name = "suse/306/libpulp.so.0", version = "0.3.6", queue = false, switch = true, times = true},
  {name = "suse/300/libpulp.so.0", queue = true, switch = true},
  {name = "suse/203/libpulp.so.0", queue = false, switch = false},
}
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"
for _, it in ipairs(versions) do
  local c <close> = t.target {"numserv", preload = t.path(it.name), timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local runtime = assert(p:runtime())
  local function serves(dozen, hundred)
    c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
    c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
    t.unharmed(c.pid)
    t.eq({runtime:state(), runtime:error_state()}, {"idle", 0}, it.name)
  end
  t.eq({runtime.kind, runtime:version()}, {"suse", it.version})
  t.eq(runtime:messages(), "libpulp loaded...\n")
  serves(12, 100)
  for round = 1, 3 do
    t.state(ulp.trigger(p, {dozens, hundreds}), "done", it.name .. ", round " .. round)
    serves(13, 200)
    local listed = ulp.patches(p)
    t.eq({#listed, listed[1].path, listed[2].path}, {2, hundreds, dozens})
    t.eq(listed[1].time > 0, it.times == true, "a time is known")
    t.ok(ulp.check(p, dozens).applied and ulp.check(p, hundreds).applied)
    t.state(ulp.revert(p, dozens), "done")
    serves(12, 200)
    t.state(ulp.revert_all(p, "libhundreds.so.0"), "done")
    serves(12, 100)
  end
  local listing <close> = t.ulpsh {"patches", "-p", tostring(c.pid), timeout = 20}
  listing:expect "SUSE's libpulp"
  listing:expect_exit(0)
  if it.switch then
    t.state(ulp.set_patchable(p, false), "done")
    t.refused("runtime.disabled", function() return ulp.trigger(p, dozens) end)
    t.state(ulp.set_patchable(p, true), "done")
    t.state(ulp.trigger(p, dozens), "done")
    serves(13, 100)
  else
    t.refused("runtime.version", function() return ulp.set_patchable(p, false) end)
  end
end

-- The same forms and places of entries, and the same references.
for _, it in ipairs(versions) do t.shared "suse_rows"({"forms", "pagecross", "access"}, it.name) end
