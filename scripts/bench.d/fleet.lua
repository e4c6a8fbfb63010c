--- Many processes at once: inventory, one patch to all of them and back, and how much memory the tool takes for it.
---
--- usage: ulpsh fleet.lua LOAD ROUNDS [--json] [COUNT...], with the built targets in ULPSH_TARGETS. LOAD is load.c's program.
local core = require "ulp.core"
local t = require "ulp.scenario"

local load_path, rounds, counts, as_json = arg[1], tonumber(arg[2]), {}, false
for index = 3, #arg do
  if arg[index] == "--json" then as_json = true else counts[#counts + 1] = tonumber(arg[index]) end
end
if #counts == 0 then counts = {200, 1000} end

--- What the release promises, in seconds and MiB, for 1000 processes.
local limits = {patches = 0.5, trigger = 1, memory = 16}

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function row(name, unit, count, value, limit)
  local over = limit and value > limit
  if as_json then
    print(require "ulp.render.json".line("figure", {
      name = name, unit = unit, processes = count, value = value, limit = limit, missed = over or false,
    }))
    return
  end
  local kept = limit and ("%g%s"):format(limit, over and " MISSED" or "") or ""
  print(("  %-46s %10.3g %-4s %s"):format(name, value, unit, kept))
end

--- Runs a command of the tool in a program of its own; seconds from start to end, its peak of memory in MiB, and its output.
local function run(command, ...)
  local words = {}
  for index, word in ipairs {...} do words[index] = ("%q"):format(word) end
  local code = ("local s = require 'ulp.cli'.main(%q, {%s}) io.stdout:flush()"
    .. " io.stderr:write('peak ', io.open '/proc/self/status':read 'a'"
    .. ":match 'VmHWM:%%s*(%%d+)', ' status ', s, '\\n')"):format(command, table.concat(words, ", "))
  local began = core.clock()
  local child <close> = t.spawn {core.executable_path, "-e", code, timeout = 120}
  local parts = {}
  repeat
    parts[#parts + 1] = child:drain()
    local kind = child.raw:wait(0.001)
  until kind
  local took = core.clock() - began
  parts[#parts + 1] = child:drain()
  local output = table.concat(parts)
  local peak, status = output:match "peak (%d+) status (%d+)"
  assert(status == "0", output:sub(-2000))
  return took, tonumber(peak) / 1024, output
end

-- A name of its own: other processes of the same program are nobody's business here.
local name = ("fleet%x"):format(math.random(0) & 0xffffff)
local program = t.directory() .. "/" .. name
t.spawn({"/bin/ln", "-s", load_path, program}):expect_exit(0)

local function measure(count)
  local fleet <close> = t.spawn {program, "fleet", tostring(count), preload = true, timeout = 120}
  for _ = 1, count do fleet:expect "ready" end
  local times, peak = {patches = {}, trigger = {}, check = {}, revert = {}}, 0
  local function timed(command, ...)
    local took, memory, output = run(command, "-p", name, ...)
    table.insert(times[command], took)
    peak = math.max(peak, memory)
    return output
  end
  for round = 1, rounds do
    local fix = t.patch("dozens_13", {as = "fleet_" .. round})
    timed "patches"
    local output = timed("trigger", fix)
    local _, done = output:gsub(name .. "%[%d+%]: done", "")
    assert(done == count, ("%d of %d were patched: %s"):format(done, count, output:gsub("[^\n]*: done[^\n]*\n", "")))
    timed("check", fix)
    timed("revert", fix)
  end
  if not as_json then print(("\n%d processes, %d rounds"):format(count, rounds)) end
  local whole = count >= 1000
  row("inventory: ulpsh patches", "s", count, median(times.patches), whole and limits.patches or nil)
  row("one patch: ulpsh trigger", "s", count, median(times.trigger), whole and limits.trigger or nil)
  row("ulpsh check", "s", count, median(times.check))
  row("ulpsh revert", "s", count, median(times.revert))
  row("memory of the tool, peak", "MiB", count, peak, limits.memory)
end

for _, count in ipairs(counts) do measure(count) end
t.clean()
