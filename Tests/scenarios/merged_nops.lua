-- timeout: 120
-- `post` merges the two nops of every form of entry and nothing else: mode, owner, build ID and attributes stay, links are
-- followed, a running program is not disturbed; what it cannot do safely it leaves and says so.
local t = require "ulp.scenario"
local ulp = require "ulp"

local directory = t.directory()
local function path(name) return directory .. "/" .. name end
local function copy(from, to) return t.write_file(path(to), t.read_file(t.path(from))) end

--- What a program prints.
local function output(...)
  local program <close> = t.spawn {timeout = 30, ...}
  program:expect_exit(0)
  return program:drain()
end

--- The names, by `nm`, of the functions at which a byte may have been changed; and how many bytes differ.
local function differences(old, new, file)
  t.eq(#new, #old, "the same size")
  local places = {}
  for at = 1, #old do
    if old:byte(at) ~= new:byte(at) then
      t.eq({old:byte(at), old:byte(at + 1), new:byte(at), new:byte(at + 1)}, {0x90, 0x90, 0x66, 0x90}, "a pair of nops")
      places[at - 1] = old:sub(at - 4, at - 1) == "\xf3\x0f\x1e\xfa" and 4 or 0
    end
  end
  local names, count = {}, 0
  for address, name in output("/usr/bin/nm", file):gmatch "(%x+) [tT] (%S+)\n" do
    -- In what these linkers make, code lies in the file where it is linked to.
    local place = tonumber(address, 16)
    if places[place] == 0 or places[place + 4] == 4 then names[name] = true end
  end
  for _ in pairs(places) do count = count + 1 end
  return names, count
end

-- Both layouts, with and without endbr64.
for _, form in ipairs {"number", "number_endbr", "number_wide", "number_wide_endbr"} do
  local file = "lib" .. form .. ".so.0"
  local merged, old = copy(file, file), t.read_file(t.path(file))
  local build_id = ulp.livepatchable(merged).build_id
  local result = assert(ulp.post(merged))
  local names, count = differences(old, t.read_file(merged), merged)
  t.eq({result.changed, #result.merged, result.already, #result.skipped}, {true, count, 0, 0}, form)
  t.eq({names.number, names.before, names.after}, {true, true, true}, form)
  for _, one in ipairs(result.merged) do t.ok(names[one.name], one.name) end
  t.eq(ulp.livepatchable(merged).build_id, build_id, "build ID")
  t.ok(ulp.livepatchable(merged).livepatchable, "still prepared")
  local again = assert(ulp.post(merged))
  t.eq({again.changed, #again.merged, again.already}, {false, 0, count}, "nothing is left to do")

  local c <close> = t.target {"caller", merged}
  local function shows(expected, rejected) c:ask("number", "number=" .. expected .. "\n", {reject = "number=" .. rejected}) end
  t.switches(c, t.patch(form .. "_2"), {old = 1, new = 2}, shows)
end

-- Mode, owner, attributes, with links to it: symbolic ones are followed, another name keeps the old file.
local function facts(file)
  return output("/usr/bin/python3", "-c", [[
import os, sys
s = os.stat(sys.argv[1])
attributes = sorted(os.listxattr(sys.argv[1]))
print(oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, [(n, os.getxattr(sys.argv[1], n)) for n in attributes])]], file)
end
local file = copy("libnumber.so.0", "facts.so")
local has_attributes = output("/usr/bin/python3", "-c", [[
import os, sys
if os.getuid() == 0: os.chown(sys.argv[1], 1234, 2345)
os.chmod(sys.argv[1], 0o6751)
try:
  os.setxattr(sys.argv[1], "user.note", b"kept")
  print("yes")
except OSError: print("no")]], file)
local before, original = facts(file), t.read_file(file)
assert(os.execute(("ln -s facts.so %s && ln %s %s"):format(path "link.so", file, path "twin.so")))
local result = assert(ulp.post(path "link.so"))
t.eq(result.path, file, "the file that the link leads to")
t.ok(#result.warnings == 1 and result.warnings[1]:find "hard link", result.warnings[1])
t.eq(require "ulp.core".file_kind(path "link.so"), "link")
t.eq(facts(file), before, "mode, owner, attributes")
t.eq(before:find "kept" ~= nil, has_attributes == "yes\n", before)
t.eq({t.read_file(path "twin.so") == original, t.read_file(file) == original}, {true, false}, "the other name has the old file")

-- A file that may not be written is replaced all the same where its directory may be; where not, it stays as it is.
local fixed = copy("libnumber.so.0", "fixed.so")
assert(os.execute(("chmod 0444 %s"):format(fixed)))
t.ok(assert(ulp.post(fixed)).changed, "a read-only file")
t.ok(facts(fixed):find "^0o100444 ", facts(fixed))
local executable = require "ulp.core".executable_path
local is_root = require "ulp.core".user_id() == 0
if is_root then
  local probe <close> = t.spawn {"/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "test", "-x", executable}
  local exit = probe:wait()
  if not exit or exit.code ~= 0 then t.skip "another user cannot reach the program under test" end
  -- The directory is not his; or it is, and the new file could not be given the old one's owner.
  for mode, reason in pairs {["0755"] = "cannot create a file beside it", ["0777"] = "cannot keep its owner"} do
    local place = path("of_root_" .. mode)
    t.ok(os.execute(("mkdir -m %s %s"):format(mode, place)))
    local kept = t.write_file(place .. "/kept.so", original)
    assert(os.execute(("chmod 0666 %s"):format(kept)))
    local was = facts(kept)
    local tool <close> = t.spawn {"/usr/bin/setpriv", "--reuid=65534", "--clear-groups", executable, "post", kept, timeout = 20}
    tool:expect(reason)
    tool:expect "[file.unwritable]"
    tool:expect_exit(1)
    t.eq({t.read_file(kept) == original, facts(kept)}, {true, was}, "as it was")
    t.eq(require "ulp.core".list_directory(place), {"kept.so"}, "nothing is left beside it")
  end
end

-- On a file system that is mounted read-only.
do
  local place = path "readonly"
  local script = 'mkdir -p "$1" && mount -t tmpfs none "$1" && cp "$2" "$1/a.so" && mount -o remount,ro none "$1" && echo ready'
    .. ' && cd "$1" && exec "$3" post a.so'
  local tool <close> = t.spawn {
    "/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh", place, t.path "libnumber.so.0", executable, timeout = 20,
  }
  if not pcall(tool.expect, tool, "ready\n") then t.skip "the kernel does not allow new namespaces" end
  tool:expect "Read-only file system [file.unwritable]"
  tool:expect_exit(1)
end

-- The program runs meanwhile: it keeps its file, is patched as before, and so is one that is started now.
local program = copy("teller", "teller")
assert(os.execute(("chmod 0755 %s"):format(program)))
local fix = t.patch("teller_2", {target = program})
local c <close> = t.target(program)
t.ok(assert(ulp.post(program)).changed, "while it runs: no ETXTBSY")
local d <close> = t.target(program)
t.ok(t.text(c.pid, "teller (deleted)") ~= t.text(d.pid, "teller"), "the running one keeps its file")
for _, process in ipairs {c, d} do
  local function shows(expected, rejected) process:ask("tell", expected, {reject = rejected}) end
  t.switches(process, fix, {old = "tell=40\n", new = "tell=1040\n"}, shows)
end

-- Entries of other shapes are left alone, each with its reason, and a file without any stays the same file.
local function library(name, flags)
  t.write_file(path(name .. ".c"), "int first(void) { return 1; }\nint second(int x) { return x * 3; }\n")
  output("/usr/bin/gcc", "-O2", "-fPIC", "-fcf-protection=none", "-shared", "-Wl,--build-id=sha1", flags, "-o", path(name),
    path(name .. ".c"))
  return path(name)
end
for name, case in pairs {
  none_behind = {"-fpatchable-function-entry=16,16", "does not begin with two nops"},
  one_behind = {"-fpatchable-function-entry=15,14", "does not begin with two nops"},
} do
  local odd = library(name, case[1])
  local bytes, was = t.read_file(odd), facts(odd)
  local outcome = assert(ulp.post(odd))
  t.eq({outcome.changed, #outcome.merged, #outcome.skipped}, {false, 0, 2}, name)
  for _, one in ipairs(outcome.skipped) do t.ok(one.reason:find(case[2], 1, true), one.reason) end
  t.eq({t.read_file(odd) == bytes, facts(odd)}, {true, was}, "untouched")
end
-- Without symbols nobody knows where the functions begin; exported ones are merged.
local stripped = library("stripped", "-fpatchable-function-entry=16,14")
output("/usr/bin/strip", stripped)
t.eq(#assert(ulp.post(stripped)).merged, 2, "exported functions")

-- What is no file of that kind.
local truncated = t.write_file(path "truncated.so", original:sub(1, #original // 2))
for name, code in pairs {
  [t.path "libnumber_unprepared.so.0"] = "entry.not_prepared", ["/etc/passwd"] = "elf.not_elf",
  [path "absent"] = "file.unreadable", [directory] = "file.unreadable",
} do
  t.raises(code, function() return ulp.post(name) end)
end
local done, refusal = ulp.post(truncated)
t.ok(not done and refusal.code:find "^elf%.", tostring(refusal))
t.eq(#t.read_file(truncated), #original // 2, "and stays")
for _, name in ipairs(require "ulp.core".list_directory(directory)) do
  t.ok(not name:find "ulpsh%-", name .. " was left behind")
end
