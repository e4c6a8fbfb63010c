-- timeout: 60
-- A process whose root directory is that of proc(5) is patched: the way to the file leads through process 1.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

-- Where process 1 is nobody of ours, the scenario runs in a PID namespace of its own.
if not core.file_kind "/proc/1/root/tmp" then
  if os.getenv "ULPSH_OWN_INIT" then t.skip "the root directory of process 1 cannot be entered" end
  local again <close> = t.spawn {
    "/usr/bin/unshare", "--mount-proc", "-pf", "/bin/sh", "-c", 'ULPSH_OWN_INIT=1 "$1" test "$2"; exit $?', "sh",
    core.executable_path, t.here .. "/chroot_proc.lua", timeout = 50,
  }
  local exit = again:wait()
  local said = again:drain()
  if said:find "# SKIP" or said:find "unshare:" then t.skip "the root directory of process 1 cannot be entered" end
  t.ok(exit and exit.code == 0 and said:find("1 passed", 1, true), said)
  return
end

local fix = t.patch "dozens_13"
local c <close> = t.target {"confined", "/proc"}
local p <close> = assert(ulp.attach(c.pid))
local function serves(dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(c.pid)
end
for _, options in ipairs {{}, {root = "/1/root"}} do
  serves(12)
  local path = (options.root or "/1/root") .. fix
  t.eq(assert(ulp.plan(p, fix, nil, options)).applies[1].target_path, path, "the path that it opens")
  t.state(ulp.trigger(p, fix, options), "done", "apply")
  serves(13)
  t.state(ulp.revert(p, fix, options), "done", "revert")
end
serves(12)
