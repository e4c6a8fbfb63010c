-- timeout: 90
-- SUSE's tool and ulpsh take turns on one process: each lists, checks, reverts and replaces what the other has applied.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local v = {t.patch "version_1", t.patch "version_2", t.patch "version_3"}
local c <close> = t.target {"caller", t.path "libversion.so.0"}
local p <close> = assert(ulp.attach(c.pid))

local function shows(version)
  local others = {}
  for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
end
local name = "libversion.so.0:version_%d.so"

-- ulpsh applies, SUSE's tool sees and reverts
t.state(ulp.trigger(p, v[1]), "done")
shows(1)
t.eq(suse.list(c), name:format(1))
t.ok(suse.applied(c, v[1]))
suse.expect("EAPPLIED", "trigger", c.pid, v[1])
suse.revert(c, v[1])
shows(0)
t.eq(suse.list(c), "")
t.ok(ulp.check(p, v[1]).state ~= "done", "reverted for ulpsh, too")

-- and the other way round, stacked by turns
suse.trigger(c, v[1])
t.state(ulp.trigger(p, v[1]), "already", "what SUSE's tool has applied")
t.state(ulp.trigger(p, v[2]), "done")
suse.trigger(c, v[3])
shows(3)
t.eq(suse.list(c), table.concat({name:format(3), name:format(2), name:format(1)}, " "))
t.eq(#ulp.patches(p), 3)
t.state(ulp.revert(p, v[3]), "done", "applied by SUSE's tool")
shows(2)
suse.revert(c, v[2])
shows(1)
t.eq(suse.list(c), name:format(1))

-- ulpsh replaces what SUSE's tool has applied; SUSE's tool takes all back
t.state(ulp.replace(p, "libversion.so.0", v[3]), "done")
shows(3)
t.eq(suse.list(c), name:format(3))
suse.trigger(c, v[2])
shows(2)
suse.expect("ENONE", "revert-all", c.pid, "libversion.so.0")
shows(0)
t.eq(suse.list(c), "")
t.eq(#ulp.patches(p), 0)
t.state(ulp.trigger(p, v[2]), "done")
shows(2)
t.state(ulp.revert(p, v[2]), "done")
shows(0)
