-- timeout: 60
-- The report playbook: what each process runs, with labels, and why a patch is not in force where it is not. It stops nothing.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"

local units = {"! fixes bsc#123456 and CVE-2026-1234", "! see jsc#PED-77", "dozen:dozens_13"}
local fix, hundreds = t.patch("dozens_13", {units = units}), t.patch "hundreds_200"
local patched <close> = t.target "numserv"
local waiting <close> = t.target "numserv"
local bare <close> = t.target {"numserv", preload = false}
local optout <close> = t.target {"numserv"}
-- Another build of the library, which the patch is not for.
local other <close> = t.target {"numserv", env = {LD_LIBRARY_PATH = t.path "other"}}
t.state(ulp.trigger(patched.pid, {fix, hundreds}), "done")
t.state(ulp.set_patchable(optout.pid, false), "done")
local all = {patched, waiting, bare, optout, other}

--- Runs the playbook and returns the entries by PID.
local function report(code, ...)
  local command = {"run", "report", "--json", timeout = 20, ...}
  local tool <close> = t.ulpsh(command)
  tool:expect_exit(code)
  local entries, summary = {}, nil
  for line in tool:drain():gmatch "[^\n]+" do
    local entry = t.ok(json.decode(line), "a line of JSON: " .. line)
    if entry.type == "process" then entries[entry.pid] = entry end
    if entry.type == "summary" then summary = entry end
  end
  t.ok(summary or code == 4, "there is a summary")
  return entries
end

local selection = {}
for _, c in ipairs(all) do table.move({"-p", tostring(c.pid)}, 1, 2, #selection + 1, selection) end

local entries = report(5, "--patch", fix, table.unpack(selection))
local entry = t.ok(entries[patched.pid], "the patched one is there")
t.ok(entry.patched and entry.runtime and entry.runtime:match "^%d+%.%d+", "patched, and the runtime's version is told")
t.eq(entry.universe, 2)
t.eq(#entry.patches, 2)
local by_target = {}
for _, patch in ipairs(entry.patches) do by_target[patch.target] = patch end
t.eq(by_target["libdozens.so.0"].labels, {"bsc#123456", "CVE-2026-1234", "jsc#PED-77"})
t.eq(by_target["libhundreds.so.0"].labels, {})
for _, library in ipairs(entry.libs) do
  t.eq(library.build_id, assert(ulp.attach(patched.pid)).libs[library.name].build_id, "build ID of " .. library.name)
end
t.eq(#entry.libs, 2, "the patched libraries")
for c, code in pairs {
  [waiting] = "patch.not_applied", [bare] = "runtime.missing", [optout] = "runtime.disabled", [other] = "target.build_id",
} do
  t.eq(entries[c.pid].patched, false)
  t.eq(entries[c.pid].why_not.code, code)
end

-- By library and by patch, also without the runtime; without an argument only what has the runtime.
local by_lib = report(5, "--lib", "libdozens.so.0")
for _, c in ipairs(all) do t.ok(by_lib[c.pid], "found by its library") end
t.eq(by_lib[bare.pid].runtime, nil)
local everything = report(5)
t.ok(everything[waiting.pid] and not everything[bare.pid], "those with the runtime")
t.eq({everything[optout.pid].patching, everything[waiting.pid].patching}, {"disabled", "enabled"})

-- A detour that is not there any more, although the journal says so.
local p <close> = assert(ulp.attach(patched.pid))
p:write_text(assert(p:symbol "dozen"), "\x66\x90")
entries = report(5, "-p", tostring(patched.pid), "--patch", fix)
t.eq(entries[patched.pid].patched, false)
t.eq(entries[patched.pid].why_not.code, "patch.lost")
p:write_text(assert(p:symbol "dozen"), "\xeb\xf0")
report(0, "-p", tostring(patched.pid), "--patch", fix)
report(1, "-p", tostring(waiting.pid), "--patch", fix)
report(4, "-p", "nobody-has-this-name")

-- For people; and nothing was changed by all this.
local text <close> = t.ulpsh {
  "run", "report", "-p", tostring(patched.pid), "-p", tostring(waiting.pid), "--patch", fix, timeout = 20,
}
text:expect "dozens_13.so, 1 function, bsc#123456 CVE-2026-1234 jsc#PED-77"
text:expect "2 processes: 1 patched with dozens_13.so, 1 not (1 patch.not_applied)"
text:expect_exit(1)
patched:ask("dozen", "13\n", {reject = "12"})
for _, c in ipairs {waiting, bare, other} do
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

-- A library whose file was exchanged under the running program, as an update does.
local library = t.write_file(t.directory() .. "/libnumber.so.0", t.read_file(t.path "libnumber.so.0"))
local updated <close> = t.target {"caller", library}
for _, replaced in ipairs {false, true} do
  if replaced then
    assert(os.rename(t.write_file(library .. ".new", t.read_file(t.path "libnumber_wide.so.0")), library))
  end
  entries = report(0, "-p", tostring(updated.pid), "--lib", "libnumber.so.0")
  t.eq(entries[updated.pid].libs[1].replaced or false, replaced, "replaced on disk")
end
updated:ask("number", "number=1\n")

-- A program whose name would clear the screen, and is no UTF-8.
local command = [[name=$(printf '\033[2J\377\302\205x') && cp "$1" "./$name" && exec "./$name"]]
local evil <close> = t.spawn {
  "/bin/sh", "-c", command, "sh", t.path "numserv", preload = true, cwd = t.directory(), env = {LD_LIBRARY_PATH = t.path "."},
}
evil:expect "ready\n"
entries = report(0, "-p", tostring(evil.pid), "--libs")
t.ok(utf8.len(entries[evil.pid].comm), "UTF-8 in JSON")
for _, words in ipairs {{"report", "--libs", "-p"}, {"canary", "--watch", "0", fix, "-p"}} do
  words[#words + 1] = tostring(evil.pid)
  local named <close> = t.ulpsh {timeout = 20, "run", table.unpack(words)}
  named:expect_exit(0)
  local output = named:drain()
  t.ok(output:find(("[%d]"):format(evil.pid), 1, true), "the process is named: " .. output)
  t.ok(not output:find "\27" and not output:find "\194\133", "nothing steers the terminal")
end
evil:ask("dozen", "13\n", {reject = "12"})
