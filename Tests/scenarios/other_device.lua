-- timeout: 60
-- On a file system of which mappings show another device than stat(2) does (btrfs), a patch is known for the file that was
-- checked, kept and used again, and a library's symbols are found.
local t = require "ulp.scenario"
local ulp = require "ulp"

local place = t.directory()
local fix = t.patch "dozens_13"
local function made(...)
  local done, child = pcall(t.spawn, {...})
  return done and (child:wait() or {}).code == 0
end
if not made("truncate", "-s", "200M", place .. "/image") or not made("mkfs.btrfs", "-q", place .. "/image") then
  t.skip "no btrfs file system can be made"
end
assert(made("mkdir", place .. "/mounted"))
-- The mount is the namespace's own, and goes with it.
local c <close> = t.spawn {"unshare", "-m", "sh", "-c", [[
  cd "$1" && mount -t btrfs -o loop image mounted && cp "$2" "$3"/lib*s.so.0 fix.so mounted/ && exec mounted/numserv]],
  "sh", place, t.path "numserv", t.targets, preload = true}
t.write_file(place .. "/fix.so", t.read_file(fix))
if not pcall(c.expect, c, "ready\n") then t.skip "no btrfs file system can be made" end
local p <close> = assert(ulp.attach(c.pid))
local patch = ("/proc/%d/root%s/mounted/fix.so"):format(c.pid, place)
local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end

-- It is such a file system, or nothing is tested.
local device
for line in io.lines(("/proc/%d/maps"):format(c.pid)) do device = device or line:match "(%x+:%x+) %d+%s+%S*/libdozens%.so%.0" end
local shown <close> = t.spawn {"stat", "-c", "%Hd:%Ld", patch}
shown:expect_exit(0)
local major, minor = shown:drain():match "(%d+):(%d+)"
t.ok(("%02x:%02x"):format(major, minor) ~= t.ok(device, "the library is mapped"), "both devices are the same: " .. device)

serves(12)
for _, options in ipairs {{}, {deliver = "memfd"}, {unload = false}, {unload = false}} do
  t.state(ulp.trigger(p, patch, options), "done")
  serves(13)
  t.ok(ulp.check(p, patch).applied)
  t.state(ulp.revert(p, patch), "done")
  serves(12)
end
t.eq(#p:runtime():patches(), 1, "what was kept was used again")
t.ok(t.insist(function() return p:stopped(function(threads) return #threads[1]:backtrace() end) end) > 2, "stacks are unwound")
t.unharmed(c.pid)
