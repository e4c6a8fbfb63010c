-- timeout: 120
-- Stacked patches under SUSE's tool: the middle one reverted, all reverted at once, with and without a new patch after it.
local t = require "ulp.scenario"
local suse = t.shared "suse"

local library = "libversion.so.0"
local v = {t.patch "version_1", t.patch "version_2", t.patch "version_3"}
local c <close> = t.target {"caller", t.path(library)}

local function shows(version)
  local others = {}
  for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
end
local function stack()
  for number = 1, 3 do
    suse.trigger(c, v[number])
    shows(number)
  end
end
local function applied(...)
  local found = {}
  for number = 1, 3 do found[number] = suse.applied(c, v[number]) end
  t.eq(found, {...}, "which are applied")
end

-- revert
stack()
suse.expect("EAPPLIED", "trigger", c.pid, v[2])
shows(3)
suse.revert(c, v[2])
shows(3)
applied(true, false, true)
suse.revert(c, v[3])
shows(1)
suse.revert(c, v[1])
shows(0)
applied(false, false, false)

-- revert_all: of an unpatched library it fails
suse.expect("ENOPATCH", "revert-all", c.pid, library)
suse.expect("ENOTARGETLIB", "revert-all", c.pid, "libnowhere.so.0")
suse.expect("ENOTARGETLIB", "revert-all", c.pid, "")
stack()
suse.expect("ENOPATCH", "revert-all", c.pid, "libc.so.6")
shows(3)
suse.expect("ENONE", "revert-all", c.pid, "/some/where/" .. library)
shows(0)
applied(false, false, false)

-- revert_all_target1, revert_and_patch: revert-all and a new patch in one stop
stack()
suse.expect("ENONE", "--revert-all", library, "trigger", c.pid, v[2])
shows(2)
applied(false, true, false)
suse.trigger(c, v[1])
shows(1)
suse.expect("ENONE", "--revert-all", library, "trigger", c.pid, v[3])
shows(3)
applied(false, false, true)

-- revert_with_invalid: a container that does not exist is found out before anything is stopped
suse.expect("ENOMETA", "--revert-all", library, "trigger", c.pid, t.directory() .. "/nowhere.so")
shows(3)
applied(false, false, true)
suse.expect("ENONE", "revert-all", c.pid, library)
shows(0)
t.eq(suse.list(c), "", "the list is empty")
