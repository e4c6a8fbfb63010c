#!/usr/bin/env ulpsh
--- report: who runs what, which patches are in force, and which processes still wait for a patch, and why.
---
--- category: safe (reads files and memory, stops nothing)
--- usage:    ulpsh run report [options]
---
---     -p, --process PID|NAME|GLOB  only these; without it, every process that has the runtime
---     -u, --user USER              only processes of this user
---     --lib NAME                   processes that have this library, also without the runtime
---     --patch FILE                 processes that have the patch's target library; for each, whether the patch is in force
---                                  and else why not
---     --libs                       every library with its build ID, not only the patched ones
---     --json                       one JSON object a line
---
--- Of each patch in force the labels of its description are shown (CVE-..., bsc#..., jsc#...), as far as its file is still
--- there; `lost` means that the process unloaded the patched library, or that its code is not what the journal says.
--- `replaced on disk` marks a library whose file was deleted or exchanged since the process loaded it.
---
--- exit status: 0 everything has what was asked for, 1 with --patch: some process does not have it, 2 usage, 4 no process
--- matches, 5 a process needs attention (a patch lost, patching switched off, an unfinished change)
---
---     $ ulpsh run report --patch fix.so
---     numserv[15654] of root: runtime 0.4.0, universe 2
---       libdozens.so.0  27a433be444310c31a491d78df501758acefa66c
---         2026-11-21 03:05:12  1f3d77e2a9bb0c15  /srv/patches/fix.so, 1 function, CVE-2026-1234
---     numserv[15655] of root: runtime 0.4.0, universe 1
---       libdozens.so.0  27a433be444310c31a491d78df501758acefa66c
---       not patched with fix.so: it can be applied [patch.not_applied]
---     counter[15702] of www-data: no runtime
---       libdozens.so.0  27a433be444310c31a491d78df501758acefa66c
---       not patched with fix.so: libpulp.so is not loaded in process 15702 [runtime.missing]
---     3 processes: 1 patched with fix.so, 2 not (1 patch.not_applied, 1 runtime.missing)
local ulp = require "ulp"

local status = {done = 0, failed = 1, usage = 2, nothing = 4, attention = 5}

local parser = require "argparse" ("report.lua", "Show who runs what, and which processes wait for a patch, and why.")
parser:help_max_width(100)
parser:option "-p --process":argname "<pid|name|glob>":count "*":description "Only these processes; may be repeated."
parser:option "-u --user":argname "<user>":description "Only processes of this user."
parser:option "--lib":argname "<name>":description "Processes that have this library, also without the runtime."
parser:option "--patch":argname "<file>":description "Tell of each process whether it has this patch, and else why not."
parser:flag "--libs":description "Show every library with its build ID."
parser:flag "--json":description "Print JSON lines."

local parsed, options = parser:pparse({...})
if not parsed then
  io.stderr:write(parser:get_usage(), "\nreport: ", options, "\n")
  os.exit(status.usage)
end

--- Names come from the processes: control characters must not steer the terminal.
local function clean(text) return (tostring(text):gsub("%c", "?"):gsub("\194[\128-\159]", "?")) end

local function show(kind, members, text)
  if not options.json then
    print(text)
  else
    members.schema, members.type = 1, kind
    print((require "dkjson".encode(members, {keyorder = {"schema", "type", "pid", "comm", "user"}})))
  end
end

local function fail(code, message, exit_status)
  show("error", {code = code, message = message}, ("report: %s [%s]"):format(clean(message), code))
  os.exit(exit_status)
end

local wanted
if options.patch then
  local container, err = ulp.container(options.patch)
  if not container then fail(err.code, err.message, status.failed) end
  wanted = container
end

local function file_name(path) return path:match "[^/]*$" end

--- `nil, err` for whatever is raised. A process that ends while it is read is an answer, not an accident.
local function try(body, ...)
  local results = table.pack(pcall(body, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local err = results[2]
  if type(err) ~= "table" or not err.code or err.code == "script.interrupted" then error(err, 0) end
  return nil, err
end

-- What is known of one process

local function library_of(library, deleted)
  return {name = library.name, path = library.path, build_id = library.build_id, replaced = deleted[library.path]}
end

--- Libraries whose files are gone or have become others, by path.
local function deleted_files(p)
  local found = {}
  for _, row in ipairs(p.maps) do
    local path = row.path:match "^(.*) %(deleted%)$"
    if path then found[path] = true end
  end
  return found
end

--- Why the wanted patch is not in force: it was and is lost, or what a plan says, which changes nothing.
local function why_not(p)
  local found = try(ulp.check, p, wanted)
  if found and found.code == "patch.lost" then return {code = found.code, message = found.message} end
  local result, err = try(ulp.trigger, p, wanted, {dry_run = true})
  if err then return {code = err.code, message = err.message} end
  if result.state == "gone" then return {code = "process.gone", message = "it has ended"} end
  return {code = "patch.not_applied", message = "it can be applied"}
end

local function describe_patches(p, entry)
  local patches = ulp.patches(p)
  entry.universe, entry.patching, entry.reason = patches.universe, patches.patching, patches.reason
  if entry.patching ~= "enabled" then entry.attention = "runtime.disabled" end
  for _, patch in ipairs(patches) do
    -- The library was unloaded, or its code is not what the journal says.
    local state = not patch.lost and try(ulp.check, p, patch)
    local lost = patch.lost or state and state.code == "patch.lost" and state.message or nil
    if lost then entry.attention = "patch.lost" end
    entry.patches[#entry.patches + 1] = {
      id = patch.id, target = patch.target, path = patch.path, time = patch.time, functions = #patch.units,
      labels = patch.labels, lost = lost,
    }
  end
end

local function describe_runtime(p, entry)
  local runtime, err = p:runtime()
  if not runtime then
    entry.problem = {code = err.code, message = err.message}
    return
  end
  local version = p:symbol "__ulp_version"
  entry.runtime = version and p:cstring(version, 32) or "?"
  entry.operation = runtime:state()
  if entry.operation ~= "idle" then entry.attention = "operation.pending" end
  describe_patches(p, entry)
end

local function describe(p)
  local entry = {pid = p.pid, comm = p.comm, user = p.user, unit = p.unit, container = p.container_id, patches = {}, libs = {}}
  describe_runtime(p, entry)
  local targets, deleted = {}, deleted_files(p)
  for _, patch in ipairs(entry.patches) do targets[patch.target] = true end
  if options.lib then targets[options.lib] = true end
  if wanted then targets[wanted.target] = true end
  for _, library in ipairs(p.libs) do
    if options.libs or targets[library.name] or targets[file_name(library.path)] then
      entry.libs[#entry.libs + 1] = library_of(library, deleted)
    end
  end
  if wanted then
    for _, patch in ipairs(entry.patches) do
      entry.patched = entry.patched or patch.id == wanted.id and not patch.lost
    end
    entry.patched = entry.patched or false
    if not entry.patched then entry.why_not = why_not(p) end
  end
  return entry
end

-- Output

local function lines_of(entry)
  local what = entry.runtime and ("runtime %s, universe %d"):format(clean(entry.runtime), entry.universe)
    or entry.problem.code == "runtime.missing" and "no runtime" or clean(entry.problem.message)
  local lines = {("%s[%d] of %s: %s"):format(clean(entry.comm or "?"), entry.pid, clean(entry.user or "?"), what)}
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  if entry.reason then add("  patching is %s: %s", entry.patching, clean(entry.reason)) end
  if entry.operation and entry.operation ~= "idle" then
    add("  a change is unfinished (%s): run `ulpsh recover`", entry.operation)
  end
  local shown = {}
  local function add_patches(library)
    for _, patch in ipairs(entry.patches) do
      if not shown[patch] and (not library or patch.target == library.name or patch.target == file_name(library.path)) then
        shown[patch] = true
        add("    %s  %s  %s, %d function%s%s%s", os.date("%Y-%m-%d %H:%M:%S", patch.time), patch.id:sub(1, 16),
          clean(patch.path or "?"), patch.functions, patch.functions == 1 and "" or "s",
          #patch.labels > 0 and ", " .. clean(table.concat(patch.labels, " ")) or "",
          patch.lost and ", lost: " .. clean(patch.lost) or "")
      end
    end
  end
  for _, library in ipairs(entry.libs) do
    add("  %s  %s%s", clean(library.name), library.build_id or "no build ID", library.replaced and "  replaced on disk" or "")
    add_patches(library)
  end
  add_patches()
  if entry.why_not then
    add("  not patched with %s: %s [%s]", clean(file_name(options.patch)), clean(entry.why_not.message), entry.why_not.code)
  end
  return lines
end

-- Selection

local library = options.lib or wanted and file_name(wanted.target)

--- Whether the loader has loaded what was asked for: a file may also be mapped by who looks into it, as we do.
local function has_loaded(p)
  local done, found = pcall(function()
    if not library then return p:runtime() ~= nil end
    for _, one in ipairs(p.libs) do
      if one.name == library or file_name(one.path) == library then return true end
    end
    return false
  end)
  return not done or found
end

--- Calls `body` with every process that was asked for, once. Returns the PIDs that could not be opened.
local function each_process(body)
  local seen, refused = {}, {}
  local function visit(p)
    local is_users = not options.user or p.user == options.user or tostring(p.uid) == options.user
    if not seen[p.pid] and is_users then body(p) end
    seen[p.pid] = true
  end
  for _, word in ipairs(options.process) do
    local pid = math.tointeger(tonumber(word))
    if pid then
      local p, err = ulp.attach(pid)
      if p then visit(p) else refused[#refused + 1] = {pid = pid, code = err.code, message = err.message} end
    else
      for p in ulp.processes{name = word} do visit(p) end
    end
  end
  if #options.process > 0 then return refused end
  if not library then
    for p in ulp.processes{runtime = true, where = has_loaded} do visit(p) end
    return refused
  end
  for p in ulp.processes{where = has_loaded} do
    if ulp.core.maps_file(p.pid, library) or ulp.core.maps_file(p.pid, library .. " (deleted)") then visit(p) end
  end
  return refused
end

local count, patched, attention, reasons = 0, 0, 0, setmetatable({}, {__jsontype = "object"})
local refused = each_process(function(p)
  local entry, err = try(describe, p)
  if not entry then
    if not p.alive then return end
    local problem = {code = err.code, message = err.message}
    entry = {pid = p.pid, comm = p.comm, user = p.user, patches = {}, libs = {}, problem = problem}
    entry.why_not = wanted and problem
  end
  count = count + 1
  if entry.attention then attention = attention + 1 end
  if entry.patched then patched = patched + 1 end
  if entry.why_not then reasons[entry.why_not.code] = (reasons[entry.why_not.code] or 0) + 1 end
  show("process", entry, table.concat(lines_of(entry), "\n"))
end)
for _, one in ipairs(refused) do show("error", one, ("process %d: %s [%s]"):format(one.pid, clean(one.message), one.code)) end

if count == 0 and #refused == 0 then fail("process.not_found", "no process matches", status.nothing) end
local codes = {}
for code, number in pairs(reasons) do codes[#codes + 1] = ("%d %s"):format(number, code) end
table.sort(codes)
local text = count == 1 and "1 process" or count .. " processes"
if wanted then
  text = ("%s: %d patched with %s, %d not%s"):format(text, patched, clean(file_name(options.patch)), count - patched,
    #codes > 0 and (" (%s)"):format(table.concat(codes, ", ")) or "")
end
if attention > 0 then text = text .. ("; %d need attention"):format(attention) end
show("summary", {
  processes = count, attention = attention, patched = wanted and patched, missing = wanted and count - patched,
  reasons = wanted and reasons,
}, text)
os.exit(attention > 0 and status.attention or (wanted and patched < count or #refused > 0) and status.failed or status.done)
