-- timeout: 60
-- A process that cannot open a patch's file (a mount without execution, other mounts, no permission) is refused before anything
-- is tried, and the hint leads to delivery in a memory file, which works there; what fails with one leaves no descriptor.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local memfd = {deliver = "memfd", receipt = true}
local function descriptors(pid) return core.list_directory(("/proc/%d/fd"):format(pid)) end

--- Refused by its path, which changes nothing; done in a memory file, and back.
local function only_in_memory(c, patch, reason, path)
  local p <close> = assert(ulp.attach(c.pid))
  local at_rest, before = descriptors(c.pid), t.snapshot(c.pid)
  local said = t.refused("container.invisible", function() return ulp.trigger(p, patch) end)
  t.ok(said.message:find(reason, 1, true) and said.message:find(path or patch, 1, true), said.message)
  t.ok(said.hint:find('deliver = "memfd"', 1, true), said.hint)
  t.refused("container.invisible", function() return ulp.plan(p, patch) end)
  t.unchanged(c.pid, before)
  c:ask("dozen", "12\n", {reject = "13"})
  for round = 1, 2 do
    local applied = t.state(ulp.trigger(p, patch, memfd), "done", "apply " .. round)
    t.eq(applied.receipt.differences, {})
    c:ask("dozen", "13\n", {reject = "12"})
    t.eq(descriptors(c.pid), at_rest, "while it is applied")
    t.state(ulp.revert(p, patch), "done", "revert " .. round)
    c:ask("dozen", "12\n", {reject = "13"})
    t.eq(descriptors(c.pid), at_rest, "after the revert")
  end
  t.unharmed(c.pid)
end

local fix = t.patch "dozens_13"
local shelf = t.directory() .. "/shelf"
assert(os.execute("mkdir " .. shelf))
local shelved = t.write_file(shelf .. "/fix.so", t.read_file(fix))

--- A program with mounts of its own: `script` makes them, the directory of the patch being "$1".
local function with_mounts(script)
  local c = t.spawn {
    "unshare", "-m", "sh", "-c", script .. ' && exec "$2"', "sh", shelf, t.path "numserv", preload = true, timeout = 20,
  }
  if not pcall(c.expect, c, "ready\n") then t.skip "the kernel does not allow new namespaces" end
  return c
end

do -- The very file, on a mount that is noexec only there.
  local c <close> = with_mounts 'mount --bind "$1" "$1" && mount -o remount,bind,noexec "$1"'
  only_in_memory(c, shelved, "noexec")
end
-- The same bytes in a file system of its own.
local own = 'exec 3<"$1/fix.so" && mount -t tmpfs %s none "$1" && cat <&3 >"$1/fix.so" && exec 3<&-'
do -- By the way we see it.
  local c <close> = with_mounts(own:format "-o noexec")
  only_in_memory(c, ("/proc/%d/root%s"):format(c.pid, shelved), "noexec", shelved)
end
do -- Something else is mounted over it.
  local c <close> = with_mounts 'mount -t tmpfs none "$1"'
  only_in_memory(c, shelved, "does not exist")
end
do
  local c <close> = with_mounts(own:format "")
  only_in_memory(c, shelved, "another file")
end

-- Another user's program, and a directory that is only ours.
local lowered = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
local function as_nobody(...)
  return t.spawn {preload = true, timeout = 20, lowered[1], lowered[2], lowered[3], lowered[4], ...}
end
local reaches = core.user_id() == 0
for _, file in ipairs(reaches and {core.runtime_path, t.path "numserv"} or {}) do
  local probe <close> = as_nobody("test", "-r", file)
  reaches = reaches and (probe:wait() or {}).code == 0
end
if reaches then
  for _, place in ipairs {shelf, shelved} do
    local c <close> = as_nobody(t.path "numserv")
    c:expect "ready\n"
    assert(os.execute(("chmod 755 %s && chmod 644 %s && chmod go= %s"):format(shelf, shelved, place)))
    only_in_memory(c, shelved, "user 65534 may not")
  end
end

-- What fails with a memory file leaves nothing behind either.
local function fails(c, code, patch, options)
  local p <close> = assert(ulp.attach(c.pid))
  local at_rest, text = descriptors(c.pid), t.text(c.pid, "libdozens.so.0")
  local request = {deliver = "memfd"}
  for name, value in pairs(options or {}) do request[name] = value end
  local err = t.refused(code, function() return ulp.trigger(p, patch, request) end)
  t.eq(descriptors(c.pid), at_rest, code)
  t.ok(t.text(c.pid, "libdozens.so.0") == text, code .. ": its code")
  for line in io.lines(("/proc/%d/maps"):format(c.pid)) do t.ok(not line:find("memfd:ulpsh", 1, true), line) end
  t.eq((p:runtime():state()), "idle", code)
  t.unharmed(c.pid)
  return err
end
do
  local c <close> = t.target {"numserv", timeout = 20}
  fails(c, "call.fault", t.patch "misdeed_segv")
  fails(c, "stage.max_carrier", t.patch "dozens_slow", {max_carrier = "30ms", timeout = 20})
  fails(c, "switch.max_pause", fix, {max_pause = "1us", timeout = 0.3})
  fails(c, "container.constructors", t.patch "dozens_slow", {constructors = "refuse"})
  c:ask("dozen", "12\n", {reject = "13"})
  local p <close> = assert(ulp.attach(c.pid))
  t.state(ulp.trigger(p, fix, memfd), "done", "the next change")
  c:ask("dozen", "13\n", {reject = "12"})
end
for mode, code in pairs {["seccomp-memfd"] = "seccomp.forbidden", files = "container.undeliverable"} do
  local c <close> = t.target {"hard", mode, timeout = 20}
  local err = fails(c, code, fix)
  t.ok(err.message:find "memfd_create", err.message)
  t.eq(err.errno, mode == "files" and 24 or nil, "errno")
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
end
do -- No /proc, no way to open it.
  local c <close> = t.target {"confined", "/var", timeout = 20}
  t.ok(fails(c, "container.undeliverable", fix).message:find "/proc", "why")
  c:ask("dozen", "12\n", {reject = "13"})
end
