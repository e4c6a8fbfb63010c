-- timeout: 120
-- `ulp patches`, `check`, `messages`, `set_patchable` and every option of `trigger`, with SUSE's lines, order and exit statuses,
-- on processes of several names and patches of several kinds.
local t = require "ulp.scenario"
local named = t.shared "named"
local ulp = named.ulp

-- Two programs with names that begin alike and with nobody else's.
local stem = "p" .. t.directory():sub(-6) .. "_"
local function serve(name)
  local c = t.spawn {named.link(stem .. name, t.path "numserv"), preload = true, timeout = 20}
  c:expect "ready\n"
  return c
end
local one <close> = serve "one"
local two <close> = serve "two"
local fix, other, third = t.patch "dozens_13", t.patch "hundreds_200", t.patch("dozens_13", {as = "dozens_again"})
local wrong_build = t.patch("dozens_13", {as = "wrong_build", target = t.path "other/libdozens.so.0"})
local nowhere = t.patch "version_1" -- for a library that neither has
local pid = tostring(one.pid)

local function serves(c, dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", (hundred or 100) .. "\n", {reject = hundred == 200 and "100" or "200"})
end
local function head(c) return ("  %s (pid: %d):"):format(c == one and stem .. "one" or stem .. "two", c.pid) end
local function totals(patched, skipped, failed)
  return ("ulp: Processes patched: %d, Skipped: %d, Failed: %d."):format(patched, skipped, failed)
end
local function is(found, ...) t.eq(found, table.concat({...}, "\n") .. "\n", "the tool's lines") end
--- The lines of both processes, in the order of their numbers.
local function is_both(found, of_one, of_two, last)
  local lines = {head(one) .. of_one, head(two) .. of_two}
  if one.pid > two.pid then lines[1], lines[2] = lines[2], lines[1] end
  is(found, lines[1], lines[2], last)
end

-- Wildcards for processes.
local success, skipped = " SUCCESS " .. fix, " SKIPPED Live patch already applied"
is_both(ulp(0, "trigger", "-p", stem .. "*", fix), success, success, totals(2, 0, 0))
serves(one, 13)
serves(two, 13)
is(ulp(0, "trigger", "--revert", "-p", stem .. "[!o]??", fix), head(two) .. success, totals(1, 0, 0))
serves(one, 13)
serves(two, 12)
is_both(ulp(0, "trigger", "-p", stem .. "*", fix), skipped, success, totals(1, 1, 0))
t.eq(ulp(0, "trigger", "-p", stem .. "none*", fix), "", "no process, no line")

-- Wildcards for containers: files that end in .so, matched by name; what is for others is silent, and told on request.
local place = t.directory() .. "/set"
local below = place .. "/below"
assert(os.execute(("mkdir -p %s"):format(below)))
for name, path in pairs {["a.so"] = third, ["b.so"] = other, ["c.so"] = wrong_build, ["d.so"] = nowhere, ["e.so.1"] = fix} do
  t.write_file(place .. "/" .. name, t.read_file(path))
end
t.write_file(below .. "/b2.so", t.read_file(t.patch("hundreds_200", {as = "deep"})))
ulp(0, "trigger", "-qp", stem .. "*", "--revert-all=libdozens.so.0")
is(ulp(0, "trigger", "-p", pid, place .. "/*"), head(one), "    SUCCESS " .. place .. "/b.so", "    SUCCESS " .. place .. "/a.so",
  totals(1, 0, 0))
serves(one, 13, 200)
is(ulp(0, "trigger", "-p", pid, "--revert", "--disable-summarization", place .. "/[ab]*.so"), head(one),
  "    SUCCESS " .. place .. "/b.so", "    SUCCESS " .. place .. "/a.so", totals(1, 0, 0))
serves(one, 12, 100)
is(ulp(0, "trigger", "-p", pid, "--disable-summarization", place .. "/*"), head(one),
  ("    SKIPPED %s/d.so: Target library not loaded"):format(place), ("    SKIPPED %s/c.so: Build ID mismatch"):format(place),
  "    SUCCESS " .. place .. "/b.so", "    SUCCESS " .. place .. "/a.so", totals(1, 0, 0))
is(ulp(0, "trigger", "-p", pid, place .. "/[cd]*"), totals(0, 1, 0))
is(ulp(0, "trigger", "-p", pid, "--disable-summ", place .. "/c.so"), totals(0, 1, 0))
t.ok(ulp(0, "trigger", "-vp", pid, place .. "/c.so"):lower():find("buildid mismatch", 1, true), "-v tells why")
ulp(0, "trigger", "-qp", pid, "--revert", place .. "/b.so")
local deep = ulp(0, "trigger", "-p", pid, "--recursive", place .. "/b*")
t.ok(deep:find("    SUCCESS " .. place .. "/b.so\n", 1, true) and deep:find(below .. "/b2.so", 1, true), deep)
local patches = ulp(0, "patches", "-p", pid)
t.ok(patches:find "b2%.so loaded" and patches:find "\n      livepatch: b%.so loaded", patches)
t.ok(ulp(0, "trigger", "-p", pid, place .. "/x*"):find "no live patch matches", "nothing matches")
t.write_file(place .. "/f.so", "no patch")
is(ulp(13, "trigger", "-p", pid, place .. "/[bf]*.so"), head(one),
  ("    FAILED %s/f.so: No live patch metadata in the container"):format(place),
  ("    FAILED %s/b.so: Live patch already applied"):format(place), totals(0, 0, 1))

-- All of a library, by name, path or the container's own word; with a container in their place; and what that must not touch.
is(ulp(0, "trigger", "-p", pid, "--revert-all=/any/where/libhundreds.so.0"),
  head(one) .. " SUCCESS reverted all patches from '/any/where/libhundreds.so.0'", totals(1, 0, 0))
serves(one, 13, 100)
is(ulp(0, "trigger", "-p", pid, "--revert-all", "target", fix), head(one) .. " SUCCESS " .. fix, totals(1, 0, 0))
serves(one, 13, 100)
ulp(0, "check", "-qp", pid, place .. "/a.so")
ulp(1, "check", "-qp", pid, fix)
is(ulp(13, "trigger", "-p", pid, "--revert-all=target", t.directory() .. "/absent.so"),
  head(one) .. (" FAILED %s/absent.so: No live patch metadata in the container"):format(t.directory()), totals(0, 0, 1))
ulp(1, "check", "-qp", pid, fix)
local none = ulp(0, "trigger", "-p", pid, "--revert-all=target")
t.ok(none:find "needs a container" and none:find(totals(0, 1, 0), 1, true), none)
ulp(1, "check", "-qp", pid, fix)
serves(one, 13, 100)
is_both(ulp(0, "trigger", "-p", stem .. "*", "--revert-all=libdozens.so.0"),
  " SUCCESS reverted all patches from 'libdozens.so.0'", " SKIPPED No live patches to revert", totals(1, 1, 0))
is(ulp(0, "trigger", "-p", pid, "--revert-all=libdozens.so.0"),
  head(one) .. " SKIPPED No live patches to revert", totals(0, 1, 0))
serves(one, 12, 100)

-- A prefix reaches the process's loader, which says so; retries end; a filter is suspended only where that is allowed.
is(ulp(31, "trigger", "-r", "3", "-R", "/nowhere", "-p", pid, fix),
  head(one) .. (" FAILED %s: Failure in dlopen"):format(fix), totals(0, 0, 1))
t.ok(ulp(0, "messages", "-p", pid):find("Unable to load shared object /nowhere" .. fix, 1, true), "its messages")
is(ulp(0, "trigger", "--root", "/proc/self/root", "-p", pid, fix), head(one) .. " SUCCESS " .. fix, totals(1, 0, 0))
ulp(0, "trigger", "-qp", pid, "--revert", fix)
is(ulp(0, "trigger", "--disable-seccomp", "--timeout=30", "-c", "-p", pid, fix), head(one) .. " SUCCESS " .. fix, totals(1, 0, 0))
ulp(0, "trigger", "-qp", pid, "--revert", fix)
do
  local filtered <close> = t.target {"confined", "-", "errno"}
  local tool <close> = t.spawn {
    "/usr/bin/setpriv", "--bounding-set=-sys_admin", named.link "ulp", "trigger", "--disable-seccomp", "-p",
    tostring(filtered.pid), fix, timeout = 30,
  }
  tool:expect_exit(1)
  is(tool:drain(), ("  confined (pid: %d): FAILED %s: Operation not permitted"):format(filtered.pid, fix), totals(0, 0, 1))
  filtered:ask("dozen", "12\n", {reject = "13"})
end
ulp(0, "trigger", "-qp", pid, fix)
serves(one, 13)

-- Colours: of the verdict alone, on a terminal that has them, or when asked for.
local function coloured(expected, words, options)
  local said = named.run("ulp", 0, words, options):gsub("\r\n", "\n")
  t.eq(said:find("\27[", 1, true) ~= nil, expected, table.concat(words, " ") .. ": " .. said)
  return said
end
local skip = {"trigger", "-p", pid, fix}
local painted = head(one) .. " \27[33mSKIPPED\27[0m Live patch already applied\n" .. totals(0, 1, 0) .. "\n"
t.eq(coloured(true, {"trigger", "-p", pid, fix, "--color=yes"}), painted)
t.eq(coloured(true, skip, {pty = true, env = {TERM = "xterm", NO_COLOR = false}}), painted)
coloured(false, skip)
coloured(false, skip, {pty = true, env = {TERM = "dumb", NO_COLOR = false}})
coloured(false, skip, {pty = true, env = {TERM = "xterm", NO_COLOR = "1"}})
coloured(false, {"trigger", "-p", pid, fix, "--color=no"}, {pty = true, env = {TERM = "xterm", NO_COLOR = false}})
coloured(true, {"trigger", "-p", pid, fix, "--color=auto"}, {pty = true, env = {TERM = "xterm", NO_COLOR = false}})

-- patches: all of it, build IDs, only those with patches, by user.
local function listed(...) return ulp(0, "patches", ...) end
local whole = listed("-p", stem .. "*")
for name, c in pairs {one = one, two = two} do
  t.ok(whole:find(("PID: %d, name: %s%s\n"):format(c.pid, stem, name), 1, true), whole)
end
t.eq(listed("-p", stem .. "*", "--only-livepatched"), listed("-p", pid), "only the one with a patch")
t.ok(listed("-p", pid):find "\n\n$", "an empty line behind each process")
local id = require "ulp".livepatchable(t.path "libdozens.so.0").build_id
local line_with_id = ("    in %s (%s):\n      livepatch: dozens_13.so loaded on "):format(t.path "libdozens.so.0", id)
t.ok(listed("-bp", pid):find(line_with_id, 1, true), "-b")
t.ok(not listed("-p", pid):find(id, 1, true), "not without -b")
local objects = {}
for name in listed("-p", pid):gmatch "\n    in ([^\n]-):\n" do objects[#objects + 1] = name:match "([^/ ]*)[^/]*$" end
local places = {}
for index, library in ipairs(require "ulp".attach(one.pid).libs) do places[library.name] = index end
for index = 2, #objects do
  t.ok(places[objects[index - 1]] > places[objects[index]], "the link map from its end: " .. table.concat(objects, " "))
end
local facts = require "ulp".attach(one.pid)
local mine = {"-p", stem .. "*", "-u"}
for _, user in ipairs {facts.user, tostring(facts.uid), facts.user:sub(1, 2) .. "*", "*"} do
  t.eq(listed(mine[1], mine[2], mine[3], user), whole, "user " .. user)
end
for _, user in ipairs {"4294967294", "no-such-*"} do t.eq(listed(mine[1], mine[2], mine[3], user), "", "user " .. user) end
t.eq(listed("-p", stem .. "nobody"), "", "no process of this name")

-- set_patchable: both words, told only where it changed something; refused patches; what is applied stays.
local function switched(status, ...) return ulp(status, "set_patchable", ...) end
local line = ("Process %sone (pid: %d): livepatching is now %%s.\n"):format(stem, one.pid)
t.eq(switched(0, "disable", "-p", pid), line:format "disabled")
t.eq(switched(0, "-p", pid, "disable"), "", "it was")
is(ulp(0, "trigger", "-p", pid, other), head(one) .. " SKIPPED Live patching disabled by user", totals(0, 1, 0))
t.ok(listed("-p", pid):find "\n  Livepatching status: disabled by user\n", "the status")
t.ok(listed("-p", pid):find "livepatch: dozens_13%.so", "and the patch")
serves(one, 13, 100)
t.eq(switched(0, "ENABLE", "-qp", stem .. "*", "-u", facts.user), "", "-q")
is(ulp(0, "trigger", "-p", pid, other), head(one) .. " SUCCESS " .. other, totals(1, 0, 0))
serves(one, 13, 200)
t.eq(switched(0, "disable", "-p", stem .. "o*", "-u", tostring(facts.uid)), line:format "disabled", "by name and user")
t.eq(switched(0, "Enable", "-p", pid, "-r", "5"), line:format "enabled")
for _, word in ipairs {"Disable", "off", ""} do
  t.ok(switched(1, word, "-p", pid):find("'enable' or 'disable' expected, not '" .. word .. "'\n", 1, true), word)
end
t.ok(switched(1, "-p", pid):find "expected", "no word")
t.ok(switched(0, "enable", "-p", "999999999"):find "No such process")

-- A runtime that an internal error has switched off is another matter: told with its own number, and a failure.
do
  local p <close> = assert(require "ulp".attach(two.pid))
  local state, number = assert(p:symbol "__ulp_error_state"), tostring(two.pid)
  for value, case in pairs {[256] = {1, "Unknown error"}, [285] = {29, "Instruction queue inconsistent"}} do
    p:write(state, string.pack("<i4", value))
    is(ulp(case[1], "trigger", "-p", number, other), head(two) .. (" FAILED %s: %s"):format(other, case[2]), totals(0, 0, 1))
    local status = ("\n  Livepatching status: disabled (internal error: %s)\n"):format(case[2])
    t.ok(listed("-p", number):find(status, 1, true), case[2])
    t.ok(switched(0, "enable", "-p", number):find("%] ulp: " .. case[2]), "and stays")
  end
  p:write(state, string.pack("<i4", 0))
  serves(two, 12)
end

-- check: by number only, its exit status, words on standard error.
local function checked(status, path, what)
  local said = ulp(status, "check", path, "-p", pid)
  t.ok(said:find("%] ulp: patch '" .. named.literal(path) .. "' is " .. what .. " in process %d+%.\n$"), said)
end
checked(1, fix, "applied")
checked(0, third, "not applied")
switched(0, "disable", "-qp", pid)
checked(1, fix, "applied") -- also while nothing more may be applied
switched(0, "enable", "-qp", pid)
for _, path in ipairs {t.directory() .. "/absent.so", "/etc/passwd"} do ulp(255, "check", "-p", pid, path) end
t.ok(ulp(64, "check", "-p", stem .. "one", fix):find "number of a process")

-- Bytes of the message queue as they are, NULs included.
local ring = ulp(0, "messages", "--process=" .. pid)
t.eq({ring:sub(1, 19), ring:sub(-1)}, {"libpulp loaded...\n\0", "\0"}, "the ring")
t.eq(ring:gsub("%z", ""), require "ulp".messages(one.pid), "the same words")
t.ok(ulp(1, "messages", "-p", "999999999"):find "No such process")
for _, c in ipairs {one, two} do t.unharmed(c.pid) end

-- Libraries with endbr64 at their entries can be patched and are listed, unpatched as well.
local guarded <close> = t.target {"caller", t.path "libnumber_endbr.so.0"}
t.ok(ulp(0, "patches", "-p", tostring(guarded.pid)):find "/libnumber_endbr%.so%.0:\n", "an endbr64 library")

-- One that leaves while it is patched is skipped, and nobody else is: the others are patched, listed and counted. When it
-- notices is a matter of chance.
local leaving = named.link(stem .. "leaver", t.path "leaver")
local seen, rounds = 0, 0
repeat
  rounds = rounds + 1
  local d <close> = t.spawn {leaving, preload = true, timeout = 20}
  d:expect "ready\n"
  ulp(0, "trigger", "-qp", stem .. "two", "--revert-all=libdozens.so.0")
  serves(two, 12)
  local said = ulp(0, "trigger", "-p", stem .. "*", third)
  t.ok(said:find(head(two) .. " SUCCESS " .. third .. "\n", 1, true), said)
  local is_skipped = said:find(("  %sleaver (pid: %d): SKIPPED No such process\n"):format(stem, d.pid), 1, true)
  t.ok(is_skipped or said:find(("leaver (pid: %d): SUCCESS"):format(d.pid), 1, true) or not said:find "leaver", said)
  seen = seen + (is_skipped and 1 or 0)
  serves(two, 13)
  local number = ulp(0, "trigger", "-p", tostring(d.pid), third)
  t.ok(number:find "No such process" or number:find "SUCCESS" or number:find "SKIPPED", number)
until rounds >= 8 and seen > 0 or rounds >= 100
t.ok(seen > 0, "one at least left in the middle")
