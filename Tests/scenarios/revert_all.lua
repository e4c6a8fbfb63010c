-- All patches of a library go in one step, alone or with another coming in their place; other libraries keep theirs.
local t = require "ulp.scenario"
local ulp = require "ulp"

local versions = {}
for number = 1, 3 do versions[number] = t.patch("version_" .. number) end
local c <close> = t.target {"caller", t.path "libversion.so.0"}
local p <close> = assert(ulp.attach(c.pid))
local function shows(version)
  local others = {}
  for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
end
local function stack() for number = 1, 3 do t.state(ulp.trigger(p, versions[number]), "done") end end
local function universe() return p:runtime():universe() end

-- Of a library that has no patches, and of one that is not there: nothing is changed.
local before = t.snapshot(c.pid)
t.state(ulp.revert_all(p, "libversion.so.0"), "already")
t.state(ulp.revert_all(p, "libnonesuch.so.0"), "already")
t.raises("usage", function() return ulp.revert_all(p, nil) end)
t.unchanged(c.pid, before)

stack()
shows(3)
local step = universe()
local result = t.state(ulp.revert_all(p, "libversion.so.0"), "done", "three at once")
t.eq(#result.reverted, 3, "patches taken back")
t.eq(universe(), step + 1, "in one step")
shows(0)
t.eq(#ulp.patches(p), 0, "patches in force")

-- With another in their place, and the first can come back afterwards.
stack()
step = universe()
local successor = t.patch("version_1", {as = "successor", units = {"version:version_1", "! new"}})
t.state(ulp.replace(p, "libversion.so.0", successor), "done")
t.eq(universe(), step + 1, "in one step")
shows(1)
t.eq(#ulp.patches(p), 1, "patches in force")
t.state(ulp.trigger(p, versions[2]), "done")
shows(2)

-- With one that does not exist, or does not fit: nothing is taken back.
t.refused("file.unreadable", function() return ulp.replace(p, "libversion.so.0", t.directory() .. "/nowhere.so") end)
t.refused("target.not_loaded", function() return ulp.replace(p, "libversion.so.0", t.patch "dozens_13") end)
shows(2)
t.eq(#ulp.patches(p), 2, "patches in force")

-- From the command line.
local function command(code, ...)
  local tool <close> = t.ulpsh {"revert", "-p", tostring(c.pid), timeout = 20, ...}
  tool:expect_exit(code)
end
command(2)
command(2, "--all", "libversion.so.0", versions[2])
shows(2)
command(0, "--all", "libversion.so.0")
shows(0)
command(0, "--all", "libversion.so.0")
shows(0)

-- Another library's patches stay.
local d <close> = t.target "numserv"
t.state(ulp.trigger(d.pid, {t.patch "dozens_13", t.patch "hundreds_200"}), "done")
t.state(ulp.revert_all(d.pid, "libdozens.so.0"), "done")
d:ask("dozen", "12\n", {reject = "13"})
d:ask("hundred", "200\n", {reject = "100"})
