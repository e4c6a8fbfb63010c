-- timeout: 60
-- Under the name `ulp` the program takes SUSE's options, prints its lines and returns its exit statuses.
local t = require "ulp.scenario"
local named = t.shared "named"
local ulp = named.ulp

local function run(name, status, ...) return named.run(name, status, {...}) end

-- The program under a name of its own: a wildcard must not reach the processes of other scenarios.
local comm = "serv" .. t.directory():sub(-6)
local c <close> = t.spawn {named.link(comm, t.path "numserv"), preload = true}
c:expect "ready\n"
local fix, other, pid = t.patch "dozens_13", t.patch "version_1", tostring(c.pid)

local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end

local function is(found, ...) t.eq(found, table.concat({...}, "\n") .. "\n", "the tool's lines") end

local head = ("  %s (pid: %d)"):format(comm, c.pid)
local function totals(patched, skipped, failed)
  return ("ulp: Processes patched: %d, Skipped: %d, Failed: %d."):format(patched, skipped, failed)
end

serves(12)
ulp(0, "check", "-qp", pid, fix)
is(ulp(0, "trigger", "-p", pid, fix), head .. ": SUCCESS " .. fix, totals(1, 0, 0))
serves(13)
ulp(1, "check", "-q", "-p", pid, fix)
is(ulp(0, "-p", pid, "trigger", fix), head .. ": SKIPPED Live patch already applied", totals(0, 1, 0))
is(ulp(0, "trigger", fix, "-p", comm:sub(1, 9) .. "*", "--disable-summ"),
  head .. ":", "    FAILED " .. fix .. ": Live patch already applied", totals(0, 1, 0))

-- A patch for another library is worth no line.
is(ulp(0, "trigger", "-p", pid, other), totals(0, 1, 0))
-- Only the totals with -q.
is(ulp(0, "trigger", "-q", "--revert", "-p", pid, fix), totals(1, 0, 0))
serves(12)
is(ulp(16, "trigger", "--revert", "-p", pid, fix), head .. ": FAILED " .. fix .. ": Live patch not applied", totals(0, 0, 1))
is(ulp(0, "trigger", "--revert-all=libdozens.so.0", "-p", pid), head .. ": SKIPPED No live patches to revert", totals(0, 1, 0))
is(ulp(0, "trigger", "--revert-all", "libnothing.so", "-p", pid), totals(0, 1, 0))
is(ulp(13, "trigger", "-p", pid, "--revert-all=target", t.path "dozens_13.so"),
  head .. (": FAILED %s: No live patch metadata in the container"):format(t.path "dozens_13.so"), totals(0, 0, 1))
serves(12)

-- Replacing, in one call; then taking all back by the library's name.
ulp(0, "trigger", "-q", "-p", pid, fix)
local successor = t.patch("dozens_13", {as = "successor", units = {"dozen:dozens_13", "! bsc#1234567 and CVE-2026-1"}})
is(ulp(0, "trigger", "-p", pid, "--revert-all=target", successor), head .. ": SUCCESS " .. successor, totals(1, 0, 0))
serves(13)
ulp(0, "check", "-q", "-p", pid, fix)
ulp(1, "check", "-q", "-p", pid, successor)
local listed = ulp(0, "patches", "-p", pid)
t.ok(listed:find((
  "^PID: %d, name: %s\n  Livepatching status: enabled\n  Livepatchable libraries:\n"):format(c.pid, comm)), listed)
t.ok(listed:find "\n    in [^\n]*/libpulp%.so[^\n]* %(version %d+%.%d+%.%d+%):\n", listed)
local date = "%a%a%a %a%a%a .%d %d%d:%d%d:%d%d %d%d%d%d"
t.ok(listed:find(("\n    in %s:\n      livepatch: successor.so loaded on " .. date:gsub("%%", "%%%%") .. "\n")
  :format(t.path "libdozens.so.0":gsub("%p", "%%%0"))), listed)
t.ok(listed:lower():find("\n        bug labels: bsc#1234567 cve-2026-1 \n", 1, true), listed)
t.ok(listed:find "/libhundreds%.so%.0:\n", "a library that could be patched is listed without patches")
t.ok(not listed:find "/libc%.so", "one that cannot is not")
is(ulp(0, "trigger", "-p", pid, "--revert-all=libdozens.so.0"), head .. ": SUCCESS reverted all patches from 'libdozens.so.0'",
  totals(1, 0, 0))
serves(12)

-- Raw messages, with the NULs between them.
t.eq(ulp(0, "messages", "-p", pid):sub(1, 19), "libpulp loaded...\n\0", "the first message")
-- What no process is.
t.ok(ulp(0, "trigger", "-p", "999999999", fix):find "%] ulp: error gathering target process information: No such process")
t.ok(ulp(1, "patches", "-p", "999999999"):find "No such process")
t.ok(ulp(255, "check", "-p", "999999999", fix):find "No such process")
local bare <close> = t.target {"numserv", preload = false}
t.ok(ulp(0, "trigger", "-p", tostring(bare.pid), fix):find "Libpulp not found in target process")

-- The first names, and their words.
is(run("ulp_check", 0, "-p", pid, fix), "ulp: patch not yet applied")
is(run("ulp_trigger", 0, "-p", pid, fix), "ulp: live patching succeeded")
serves(13)
is(run("ulp_check", 1, pid, fix), "ulp: patch already applied")
is(run("ulp_trigger", 0, "--revert", "-v", pid, fix), "ulp: beginning live patch application.",
  "ulp: advertising live patch location to libpulp.", "ulp: >>> running libpulp functions within target process...",
  "ulp: >>> done.", "ulp: exiting the critical section (process release).", ("Ulp: Patching %d successful."):format(c.pid))
serves(12)
t.unharmed(c.pid)
