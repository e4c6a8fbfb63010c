-- Where the kernel lets users trace only what they have started, `ulp` says so and fails; where it does not, a process that
-- cannot be examined is warned of and left out.
local t = require "ulp.scenario"
local named = t.shared "named"
local core = require "ulp.core"

local c <close> = t.target "numserv"
local pid, fix, tool = tostring(c.pid), t.patch "dozens_13", named.link "ulp"
local user = {"/usr/bin/setpriv", "--reuid=65534", "--clear-groups"}
local probe <close> = t.spawn {user[1], user[2], user[3], "test", "-x", core.executable_path}
local exit = probe:wait()
if not exit or exit.code ~= 0 then t.skip "another user cannot reach the program under test" end

--- What the tool says as another user, under a setting of `kernel.yama.ptrace_scope`.
local function said_with(scope, status, ...)
  local script = "mount -t tmpfs none /proc/sys && mkdir -p /proc/sys/kernel/yama && "
    .. ('echo %d > /proc/sys/kernel/yama/ptrace_scope && echo ready && exec "$@"'):format(scope)
  local child <close> = t.spawn {
    "/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh", user[1], user[2], user[3], tool, timeout = 30, ...,
  }
  if not pcall(child.expect, child, "ready\n") then t.skip "the kernel does not allow new namespaces" end
  child:expect_exit(status)
  return child:drain()
end
for _, words in ipairs {{"trigger", "-p", pid, fix}, {"set_patchable", "disable", "-p", pid}, {"patches", "-p", pid}} do
  local warning = "ulp: error gathering target process information: Unable to hook to target process\n"
  local free = said_with(0, words[1] == "patches" and 1 or 0, table.unpack(words))
  t.ok(free:find(warning, 1, true) and not free:find "ptrace_scope", free)
  local restricted = said_with(1, 1, table.unpack(words))
  t.ok(restricted:find(warning, 1, true) and restricted:find("kernel.yama.ptrace_scope forbids", 1, true), restricted)
  t.ok(said_with(0, words[1] == "patches" and 1 or 0, "-v", table.unpack(words)):find "run ulpsh as root", "the hint with -v")
end
for _, scope in ipairs {0, 1} do
  said_with(scope, 255, "check", "-p", pid, fix)
  said_with(scope, 1, "messages", "-p", pid)
end
c:ask("dozen", "12\n", {reject = "13"})
t.unharmed(c.pid)
