-- timeout: 60
-- Every command of `ulp` on a process with SUSE's runtime: the same lines and exit statuses as on our own.
local t = require "ulp.scenario"
local named = t.shared "named"
local ulp = named.ulp

local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 20}
local pid, fix = tostring(c.pid), t.patch("dozens_13", {units = {"dozen:dozens_13", "! bsc#12"}})
local head = ("  numserv (pid: %d): "):format(c.pid)
local function serves(dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(c.pid)
end
local function is(status, verdict, patched, skipped, failed, ...)
  t.eq(ulp(status, "trigger", "-p", pid, ...), ("%s%s\nulp: Processes patched: %d, Skipped: %d, Failed: %d.\n"):format(
    head, verdict, patched, skipped, failed), table.concat({...}, " "))
end

serves(12)
ulp(0, "check", "-qp", pid, fix)
is(0, "SUCCESS " .. fix, 1, 0, 0, fix)
serves(13)
ulp(1, "check", "-qp", pid, fix)
is(0, "SKIPPED Live patch already applied", 0, 1, 0, fix)
local listed = ulp(0, "patches", "-p", pid)
t.ok(listed:find(("PID: %d, name: numserv\n  Livepatching status: enabled\n"):format(c.pid), 1, true), listed)
t.ok(listed:find "\n    in [^\n]*/suse/libpulp%.so %(version 0%.3%.17%):\n", listed)
t.ok(listed:find("/libdozens.so.0:\n      livepatch: dozens_13.so loaded on ", 1, true), listed)
t.ok(listed:find("\n        bug labels: bsc#12 \n", 1, true), listed)
t.eq(ulp(0, "messages", "-p", pid):sub(1, 19), "libpulp loaded...\n\0")

t.eq(ulp(0, "set_patchable", "disable", "-p", pid), ("Process numserv (pid: %d): livepatching is now disabled.\n"):format(c.pid))
is(0, "SKIPPED Live patching disabled by user", 0, 1, 0, "--revert", fix)
t.ok(ulp(0, "patches", "-p", pid):find "\n  Livepatching status: disabled by user\n", "the status")
serves(13)
t.eq(ulp(0, "set_patchable", "enable", "-p", pid), ("Process numserv (pid: %d): livepatching is now enabled.\n"):format(c.pid))

is(0, "SUCCESS " .. fix, 1, 0, 0, "--revert", fix)
serves(12)
is(16, ("FAILED %s: Live patch not applied"):format(fix), 0, 0, 1, "--revert", fix)
is(0, "SKIPPED No live patches to revert", 0, 1, 0, "--revert-all=libdozens.so.0")
is(0, "SUCCESS " .. fix, 1, 0, 0, "--revert-all=target", fix)
local other = t.patch("dozens_13", {as = "other"})
is(0, "SUCCESS " .. other, 1, 0, 0, "--revert-all", "target", other)
serves(13)
ulp(0, "check", "-qp", pid, fix)
ulp(1, "check", "-qp", pid, other)
is(0, "SUCCESS reverted all patches from 'libdozens.so.0'", 1, 0, 0, "--revert-all=libdozens.so.0")
serves(12)
is(31, ("FAILED %s: Failure in dlopen"):format(fix), 0, 0, 1, "-R", "/nowhere", fix)
t.ok(ulp(0, "messages", "-p", pid):find("Unable to load shared object /nowhere" .. fix, 1, true), "its messages")
is(0, "SUCCESS " .. fix, 1, 0, 0, "-c", "--timeout=20", fix)
serves(13)
