-- timeout: 90
-- A fleet in which some processes have our runtime, some SUSE's in several versions, and one none: every command takes all of
-- them at once, says of each what became of it and whose runtime it has, and one that fails spoils nothing.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"
local named = t.shared "named"

local fix, other = t.patch "dozens_13", t.patch "hundreds_200"
local name = ("fl%x"):format(math.random(0xfffff))
local glob = name .. "*"
local kinds = {
  {runtime = true, shown = "universe 1"}, {runtime = t.path "suse/libpulp.so", shown = "SUSE's libpulp 0.3.17"},
  {runtime = true, shown = "universe 1"}, {runtime = t.path "suse/306/libpulp.so.0", shown = "SUSE's libpulp 0.3.6"},
  {runtime = t.path "suse/203/libpulp.so.0", shown = "SUSE's libpulp"},
}
local members <close> = setmetatable({}, {__close = function(all) for _, c in ipairs(all) do c:close() end end})
local function start(runtime)
  local path = ("%s/%s%d"):format(t.directory(), name, #members)
  assert(os.execute(("ln -s %q %q"):format(t.path "numserv", path)))
  local c = t.target {path, preload = runtime, timeout = 20}
  members[#members + 1] = c
  return c
end
for _, kind in ipairs(kinds) do kind.c = start(kind.runtime) end
local bare = start(false)

local function serve(dozen)
  for _, kind in ipairs(kinds) do
    kind.c:ask("dozen", dozen .. "\n", {reject = tostring(25 - dozen)})
    t.unharmed(kind.c.pid)
  end
  bare:ask("dozen", "12\n", {reject = "13"})
end

--- Runs the tool on the fleet; returns what it has printed.
local function command(status, ...)
  local tool <close> = t.ulpsh {timeout = 40, ...}
  local exit = t.ok(tool:wait(40), "it ends")
  t.eq(exit.code, status, table.concat({...}, " ") .. ":\n" .. tool.transcript)
  return tool.transcript
end

--- Whether each process has a line with these words behind its number.
local function each_says(text, words)
  for index, kind in ipairs(kinds) do
    local line = text:match(("%s%d%%[%d%%][^\n]*"):format(name, index - 1, kind.c.pid))
    local wanted = type(words) == "function" and words(kind) or words
    t.ok(line and line:find(wanted, 1, true), ("%d: '%s' in: %s"):format(index, wanted, line or text))
  end
end

serve(12)
each_says(command(1, "patches", "-p", glob), function(kind) return kind.shown end)

-- One without a runtime is told, and the others are patched all the same.
local text = command(1, "trigger", "-p", glob, fix)
each_says(text, "done")
t.ok(text:match(("%d%%][^\n]*runtime%%.missing"):format(bare.pid)), "the one without: " .. text)
serve(13)
bare:close()
table.remove(members)
local function serve_all(dozen)
  for _, kind in ipairs(kinds) do kind.c:ask("dozen", dozen .. "\n", {reject = tostring(25 - dozen)}) end
end

each_says(command(0, "trigger", "-p", glob, fix), "already")
each_says(command(0, "check", "-p", glob, fix), "applied")
local listing = command(0, "patches", "-p", glob)
each_says(listing, function(kind) return kind.runtime == true and "universe 2" or kind.shown end)
t.eq(select(2, listing:gsub(fix:gsub("%p", "%%%0"), "")), #kinds, "the patch below each")

-- As objects.
local seen = {}
for line in command(0, "patches", "--json", "-p", glob):gmatch "{[^\n]*}" do
  local entry = json.decode(line)
  seen[entry.pid] = entry
  t.eq({#entry.patches, entry.patches[1].path}, {1, fix})
end
for _, kind in ipairs(kinds) do t.eq(seen[kind.c.pid].runtime, kind.runtime == true and "ulpsh" or "suse") end
t.eq(seen[kinds[2].c.pid].version, "0.3.17")

-- A set, taken back by library, and by file.
each_says(command(0, "trigger", "-p", glob, other), "done")
each_says(command(0, "revert", "-p", glob, "--all", "libdozens.so.0"), "done")
serve_all(12)
each_says(command(1, "check", "-p", glob, fix), "patch.not_applied")
each_says(command(0, "replace", "-p", glob, "libdozens.so.0", fix), "done")
serve_all(13)
each_says(command(0, "revert", "-p", glob, fix, other), "done")
serve_all(12)

-- Lists of processes give each its own result.
local pids = {}
for index, kind in ipairs(kinds) do pids[index] = kind.c.pid end
for _, result in ipairs((ulp.trigger(pids, fix))) do t.state(result, "done") end
serve_all(13)

-- Under SUSE's names and in its words.
local said = named.ulp(0, "trigger", "--revert", "-p", glob, fix)
t.ok(said:find(("ulp: Processes patched: %d, Skipped: 0, Failed: 0."):format(#kinds), 1, true), said)
serve_all(12)

-- One is switched off, one is stopped: both are told, the others are patched.
local off, waits = kinds[2].c, kinds[4].c
t.state(ulp.set_patchable(off.pid, false), "done")
waits:signal "STOP"
text = command(1, "trigger", "--timeout", "3", "-p", glob, fix)
t.ok(text:match(("%d%%][^\n]*runtime%%.disabled"):format(off.pid)), text)
t.ok(text:match(("%d%%][^\n]*process%%.stopped"):format(waits.pid)), text)
t.eq(select(2, text:gsub("%]: done", "")), #kinds - 2, "the others")
waits:signal "CONT"
