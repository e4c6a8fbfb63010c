-- A container that somebody else could change or replace is warned of, or refused, by owner, permissions and access list of the
-- file, and of every directory and symbolic link on its way.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
local directory = t.directory() .. "/loose"
assert(os.execute(("mkdir %s && cp %s %s/fix.so"):format(directory, fix, directory)))
local loose = directory .. "/fix.so"
local function refused(what, named)
  local before = t.snapshot(c.pid)
  local err = t.refused("container.ownership", function() return ulp.trigger(p, named or loose, {ownership = "refuse"}) end)
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

assert(os.execute("chmod 755 " .. directory))

-- An access list (acl(5)) shows as the group's bits, also where the group is root's.
local function access(path, user, permissions, mask)
  return os.execute(([[python3 -c "import os, struct
entries = [(1, 6, -1), (2, %d, %d), (4, 4, -1), (16, %d, -1), (32, 4, -1)]
os.setxattr('%s', 'system.posix_acl_access',
  struct.pack('<I', 2) + b''.join(struct.pack('<HHi', *entry) for entry in entries))"]]):format(permissions, user, mask, path))
end
local listed = directory .. "/listed.so"
t.write_file(listed, t.read_file(fix))
assert(access(listed, 12345, 6, 6))
refused("user 12345 can write " .. core.absolute_path(listed), listed)
assert(access(listed, 12345, 6, 4))
t.eq(#ulp.plan(p, listed).applies[1].exposures, base, "the mask takes it away")
assert(access(listed, core.user_id(), 6, 6))
t.eq(#ulp.plan(p, listed).applies[1].exposures, base, "our own user")

-- Whoever can exchange a link on the way chooses what is loaded; where it leads counts, too.
local links, strict = t.directory() .. "/links", t.directory() .. "/strict"
assert(os.execute(("mkdir %s %s && chmod 755 %s %s"):format(links, strict, links, strict)))
assert(os.execute(("ln -s %s %s/link.so && ln -s ../links %s/way && ln -s nowhere/.. %s/loop")
  :format(listed, links, strict, strict)))
local through = strict .. "/way/../links/./link.so"
t.eq(#ulp.plan(p, through).applies[1].exposures, base, "links in good hands")
assert(os.execute("chmod 777 " .. links))
refused("everybody can write " .. core.absolute_path(links), through)
assert(os.execute("chmod 1777 " .. links))
t.eq(#ulp.plan(p, through).applies[1].exposures, base, "a link of our own in a sticky directory")
if core.user_id() == 0 then
  assert(os.execute(("chown -h 12345 %s/link.so"):format(links)))
  refused("link.so belongs to user 12345", through)
end
assert(os.execute(("chmod 755 %s && chmod 777 %s"):format(links, directory)))
refused("everybody can write " .. core.absolute_path(directory), through)

-- A metadata file names the container, so it chooses what is loaded as well.
assert(os.execute("chmod 755 " .. directory))
local metadata = strict .. "/fix.ulp"
t.write_file(metadata, assert(ulp.container(listed)):wire(core.absolute_path(listed)))
t.eq(#ulp.plan(p, metadata).applies[1].exposures, base, "metadata in good hands")
assert(os.execute("chmod 666 " .. metadata))
refused("everybody can write " .. core.absolute_path(metadata), metadata)

assert(os.execute("chmod 777 " .. directory))
local warned = t.state(ulp.trigger(p, loose, {ownership = "warn"}), "done")
t.ok(warned.warnings[1]:find "everybody can write", "the warning")
c:ask("dozen", "13\n", {reject = "12"})
t.state(ulp.revert(p, loose), "done")
t.eq(t.state(ulp.trigger(p, loose, {ownership = "ignore"}), "done").warnings, nil, "nothing is said")
c:ask("dozen", "13\n", {reject = "12"})
t.raises("usage", function() return ulp.trigger(p, loose, {ownership = "maybe"}) end)
