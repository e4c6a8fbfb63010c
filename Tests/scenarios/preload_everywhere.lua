-- timeout: 60
-- With the runtime preloaded into everything the tools work, never list or patch themselves or those who started them, and
-- setuid programs run as before.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local fix = t.patch "dozens_13"
local c <close> = t.target "numserv"
local pid = tostring(c.pid)

--- What a shell with the runtime prints that has it, too, and starts the tool in it.
local function tool(status, ...)
  local shell <close> = t.spawn {
    "/bin/sh", "-c", 'echo "shell $$ end"; "$@"; exit $?', "sh", core.executable_path, preload = true, timeout = 30, ...,
  }
  shell:expect_exit(status)
  local said = shell:drain()
  return said, said:match "shell (%d+) end"
end

local said, shell = tool(0, "patches")
t.ok(said:find(("numserv[%d], universe"):format(c.pid), 1, true), "the target is listed: " .. said)
t.ok(not said:find("[" .. shell .. "]", 1, true), "the shell is not")
t.ok(not said:find "\nulpsh%[", "nor the tool")
tool(0, "trigger", "-p", pid, fix)
c:ask("dozen", "13\n", {reject = "12"})
tool(0, "revert", "-p", pid, fix)
c:ask("dozen", "12\n", {reject = "13"})
tool(4, "trigger", "-p", pid:gsub("%d", "x"), fix)

-- Asked for by its number, the tool refuses itself.
said = tool(0, "-e", "local p, err = ulp.attach(tonumber(io.open '/proc/self/stat':read 'a':match '^%d+')) print(p, err.code)")
t.ok(said:find("nil%s+process.self"), said)

-- Selection by what processes are.
local p <close> = assert(ulp.attach(c.pid))
local function chosen(selection)
  for found in ulp.processes(selection) do
    local one <close> = found
    if one.pid == c.pid then return true end
  end
  return false
end
t.ok(chosen {name = "numser?", lib = "libdozens.so.0", user = p.user, runtime = true}, "name, library, user")
t.ok(not chosen {name = "numserv", lib = "libversion.so.0"}, "another library")
t.ok(not chosen {name = "numserv", user = "4294967294"}, "another user")
t.ok(not chosen {name = "numserv", unit = "nonesuch"}, "another unit")
t.ok(not chosen {name = "numserv", container = ("0"):rep(64)}, "another container")
if p.unit then t.ok(chosen {name = "numserv", unit = p.unit}, "the unit") end

-- A program with more rights than its user does not load what that user asks for, and says nothing.
local uid = "65534"
local secure <close> = t.spawn {
  "/usr/bin/setpriv", "--reuid", uid, "--clear-groups", "/bin/sh", "-c", "LD_PRELOAD=$1 exec /usr/bin/mount --version",
  "sh", core.runtime_path,
}
secure:expect "mount from util-linux"
secure:expect_exit(0)
t.ok(not secure:drain():find "libpulp", "no message of the loader")
