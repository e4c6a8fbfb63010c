-- timeout: 60
-- Under the names of the first libpulp's tools their lines are printed exactly: what `-v` tells of a success, of a busy process
-- and of each attempt that failed; and metadata files go round through packer, reverse, dump, trigger and check.
local t = require "ulp.scenario"
local ulp = require "ulp"
local named = t.shared "named"

local function run(name, status, ...) return named.run("ulp_" .. name, status, {...}) end
local function is(found, ...) t.eq(found, table.concat({...}, "\n") .. "\n", "the talk's lines") end

local c <close> = t.target "numserv"
local pid, fix = tostring(c.pid), t.patch "dozens_13"
local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end

-- Metadata in files of its own: livepatch.ulp, and what reverts it.
local metadata, reversed = fix:gsub("%.so$", ".ulp"), fix:gsub("%.so$", ".rev")
t.eq(run("packer", 0, (fix:gsub("%.so$", ".dsc"))), "")
t.eq(run("reverse", 0, metadata), "")
t.eq({t.read_file(metadata):byte(1), t.read_file(reversed):byte(1)}, {1, 2}, "what they are")
local elsewhere = t.directory() .. "/elsewhere"
for _, words in ipairs {{"-o", elsewhere, metadata}, {metadata, elsewhere}, {"--output=" .. elsewhere, fix}} do
  os.remove(elsewhere)
  named.run("ulp_reverse", 0, words)
  t.eq(t.read_file(elsewhere), t.read_file(reversed), table.concat(words, " "))
end
run("packer", 0, fix:gsub("%.so$", ".dsc"), elsewhere)
t.eq(t.read_file(elsewhere), t.read_file(metadata), "a metadata file by name")
t.ok(run("dump", 0, fix):find("** old_fname: dozen\n** new_fname: dozens_13\n", 1, true), "dump")
t.ok(run("dump", 0, metadata):find("** old_fname: dozen\n** new_fname: dozens_13\n", 1, true), "dump of a metadata file")

-- Both forms of the command line, for both kinds of file.
local begun = {
  "ulp: beginning live patch application.", "ulp: advertising live patch location to libpulp.",
  "ulp: >>> running libpulp functions within target process...", "ulp: >>> done.",
}
local released = "ulp: exiting the critical section (process release)."
local function told(...)
  local lines = table.move(begun, 1, #begun, 1, {})
  return table.unpack(table.move({...}, 1, select("#", ...), #lines + 1, lines))
end
local succeeded, successful = "ulp: live patching succeeded", ("Ulp: Patching %d successful."):format(c.pid)
for _, file in ipairs {metadata, fix} do
  serves(12)
  is(run("check", 0, "-p", pid, file), "ulp: patch not yet applied")
  is(run("trigger", 0, "-p", pid, file), succeeded)
  serves(13)
  is(run("check", 1, pid, file), "ulp: patch already applied")
  is(run("check", 1, file, "-p" .. pid), "ulp: patch already applied")
  is(run("trigger", 0, pid, file), successful)
  is(run("trigger", 0, "-vp", pid, "--revert", file), told(released, succeeded))
  serves(12)
  is(run("trigger", 0, pid, file, "-v"), told(released, successful))
  serves(13)
  run("trigger", 0, "--rev", pid, file)
end
serves(12)

-- What ulp_reverse wrote takes the patch back.
run("trigger", 0, pid, metadata)
serves(13)
is(run("trigger", 0, "-p", pid, reversed), succeeded)
serves(12)

-- Somebody else is at work in the process: each attempt says so, and the process is let go.
local function failed(attempt) return ("ulp: live patching %d failed (attempt #%d)."):format(c.pid, attempt) end
do
  local p <close> = assert(ulp.attach(c.pid))
  local other = t.patch "hundreds_200"
  local staged <close> = p:runtime():stage(assert(ulp.plan(p, other)))
  t.ok(staged, "another tool's operation")
  local said = run("trigger", 1, "-v", "-r", "2", "--timeout=0.1", pid, fix)
  local busy = "ulp: libc/libdl locks were busy: patch not applied."
  local expected = {told(busy, failed(1), released)}
  table.move({told(busy, failed(2), released)}, 1, 7, 8, expected)
  local lines = table.concat(expected, "\n") .. "\n"
  t.eq(said:sub(1, #lines), lines, "busy")
  t.ok(said:sub(#lines + 1):find "^ulp: [^\n]+ %[operation%.busy%]\nulp: hint: ", said)
  local brief = run("trigger", 1, "--timeout=0", pid, fix)
  t.ok(brief:find "^ulp: [^\n]+ %[operation%.busy%]\nulp: hint: ", brief)
  t.ok(not brief:find "attempt", "nothing more without -v")
end
serves(12)

-- A failure for another reason is not called busy; mistakes are told with their code, and 64 is for the command line.
local absent = t.directory() .. "/absent.ulp"
local said = run("trigger", 1, "-v", pid, absent)
t.ok(said:find(table.concat({told(failed(1), released)}, "\n"), 1, true), said)
t.ok(not said:find "busy" and said:find "%[file%.unreadable%]", said)
t.ok(run("check", 255, pid, absent):find "%[file%.unreadable%]")
t.ok(run("check", 255, "999999999", fix):find "%[process%.not_found%]")
t.ok(run("reverse", 1, absent):find "%[file%.unreadable%]")
for _, words in ipairs {
  {"trigger"}, {"trigger", pid}, {"trigger", "numserv", fix}, {"check", fix}, {"check", "-p", pid}, {"packer"}, {"reverse"},
  {"trigger", "-p", pid, fix, fix}, {"trigger", "--frob", pid, fix},
} do
  t.ok(run(words[1], 64, table.unpack(words, 2)):find "\nUsage: ulp_%w+ %[OPTION", table.concat(words, " "))
end
local p <close> = assert(ulp.attach(c.pid))
local version = p:cstring(p:symbol "__ulp_version")
for _, name in ipairs {"trigger", "check", "dump", "packer", "reverse", "post", "messages"} do
  t.ok(run(name, 0, "--help"):find("^Usage: ulp_" .. name), name .. " --help")
  t.eq(run(name, 0, "-V"), "libpulp " .. version .. "\n", name .. " -V")
end
t.ok(run("frob", 64):find "there is no program ulp_frob")

-- What the runtime said first, and a library with merged nops.
t.eq(run("messages", 0, "-p", pid):sub(1, 19), "libpulp loaded...\n\0")
local copy = t.write_file(t.directory() .. "/libdozens.so.0", t.read_file(t.path "libdozens.so.0"))
t.eq(run("post", 0, copy), "")
t.ok(t.read_file(copy) ~= t.read_file(t.path "libdozens.so.0"), "merged")
serves(12)
t.unharmed(c.pid)
