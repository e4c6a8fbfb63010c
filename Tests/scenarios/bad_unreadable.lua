-- The program runs as another user, who cannot read the patch: refused before anything is tried, and granted when he can.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

if t.read_file "/proc/self/status":match "\nUid:%s+(%d+)" ~= "0" then
  t.skip "another user cannot reach the program under test"
end
local lowered = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
for _, file in ipairs {core.runtime_path, t.path "numserv"} do
  local probe <close> = t.spawn {lowered[1], lowered[2], lowered[3], lowered[4], "test", "-r", file}
  local exit = probe:wait()
  if not exit or exit.code ~= 0 then t.skip "another user cannot reach the program under test" end
end

local c <close> = t.spawn {lowered[1], lowered[2], lowered[3], lowered[4], t.path "numserv", preload = true}
c:expect "ready\n"
local p <close> = assert(ulp.attach(c.pid))
t.eq(p.uid, 65534, "the program's user")
local fix = t.patch "dozens_13"

local function chmod(mode, path)
  local child <close> = t.spawn {"chmod", mode, path}
  child:expect_exit(0)
end
local function refused(what)
  local snapshot = t.snapshot(c.pid)
  local said = t.refused("container.invisible", function() return ulp.trigger(p, fix) end)
  t.ok(said.message:find("dozens_13.so", 1, true), ("%s: %s"):format(what, said.message))
  t.unchanged(c.pid, snapshot)
  c:ask("dozen", "12\n", {reject = "13"})
end

chmod("0600", fix)
refused "the file is the operator's alone"
chmod("0644", fix)
chmod("0700", t.directory())
refused "the directory is the operator's alone"
chmod("0755", t.directory())
t.state(ulp.trigger(p, fix), "done", "when he can read it")
c:ask("dozen", "13\n", {reject = "12"})
t.state(ulp.revert(p, fix), "done")
c:ask("dozen", "12\n", {reject = "13"})
