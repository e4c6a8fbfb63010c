-- A container that somebody else could change or replace is warned of, or refused, by the permissions of the file and of every
-- directory on its way.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
local directory = t.directory() .. "/loose"
assert(os.execute(("mkdir %s && cp %s %s/fix.so"):format(directory, fix, directory)))
local loose = directory .. "/fix.so"
local function refused(what)
  local before = t.snapshot(c.pid)
  local err = t.refused("container.ownership", function() return ulp.trigger(p, loose, {ownership = "refuse"}) end)
  t.ok(table.concat(err.exposures, "\n"):find(what, 1, true), what .. " in: " .. err.message)
  t.unchanged(c.pid, before)
end

assert(os.execute("chmod 755 " .. directory .. " && chmod 644 " .. loose))
-- The working directory of the tests may be anybody's; what lies above the temporary directory is not looked at here.
local base = #ulp.plan(p, loose).applies[1].exposures
assert(os.execute("chmod 666 " .. loose))
refused("everybody can write " .. core.absolute_path(loose))
assert(os.execute("chmod 644 " .. loose .. " && chmod 777 " .. directory))
refused("everybody can write " .. core.absolute_path(directory))
assert(os.execute("chmod 1777 " .. directory))
t.eq(#ulp.plan(p, loose).applies[1].exposures, base, "in a sticky directory others cannot replace it")
assert(os.execute("chmod 755 " .. directory))
if core.user_id() == 0 then
  assert(os.execute("chown 12345 " .. loose))
  refused("belongs to user 12345")
  assert(os.execute("chown 0 " .. loose .. " && chmod 775 " .. directory .. " && chgrp 12345 " .. directory))
  refused("group 12345 can write")
end

assert(os.execute("chmod 777 " .. directory))
local warned = t.state(ulp.trigger(p, loose, {ownership = "warn"}), "done")
t.ok(warned.warnings[1]:find "everybody can write", "the warning")
c:ask("dozen", "13\n", {reject = "12"})
t.state(ulp.revert(p, loose), "done")
t.eq(t.state(ulp.trigger(p, loose, {ownership = "ignore"}), "done").warnings, nil, "nothing is said")
c:ask("dozen", "13\n", {reject = "12"})
t.raises("usage", function() return ulp.trigger(p, loose, {ownership = "maybe"}) end)
