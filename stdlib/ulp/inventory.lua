--- Which processes there are, and what is patched in them. Nothing here stops anything.
local M = {}

local core = require "ulp.core"
local attach = require "ulp.attach"

--- ulpsh itself and the processes it was started by: never a target.
local function ancestors()
  local chain, pid = {}, "self"
  while pid and pid ~= 0 do
    local file = io.open(("/proc/%s/stat"):format(pid))
    if not file then break end
    local line = file:read "a"
    file:close()
    local own = line:match "^(%d+) "
    if not own then break end
    chain[tonumber(own)] = true
    pid = tonumber(line:match "^.*%) %a (%d+)")
  end
  return chain
end

--- @class ulp.Selection
--- @field pid? integer
--- @field name? string name or glob
--- @field user? string user name or number
--- @field lib? string file name of a loaded library
--- @field runtime? boolean only processes with libpulp.so
--- @field where? fun(p: ulp.Process): boolean

local function wanted(facts, selection)
  if selection.pid and facts.pid ~= selection.pid then return false end
  if selection.name and not attach.matches(selection.name, facts.comm) then return false end
  if selection.user and facts.user ~= selection.user and tostring(facts.uid) ~= selection.user then return false end
  if selection.lib and not core.maps_file(facts.pid, selection.lib) then return false end
  return not (selection.runtime or selection.lib) or core.maps_file(facts.pid, "libpulp.so*")
end

--- Iterates over handles of the processes that a selection describes. ulpsh, its ancestors, and what it may not look into
--- or cannot patch by nature (static programs and the like) are passed over.
---
---     for p in ulp.processes{lib = "libssl.so.3", user = "www-data"} do print(p.pid, p.comm) end
---
--- @param selection? ulp.Selection
--- @return fun(): ulp.Process?
function M.processes(selection)
  selection = selection or {}
  local excluded, pids, index = ancestors(), core.pids(), 0
  return function()
    while index < #pids do
      index = index + 1
      local pid = pids[index]
      local facts = not excluded[pid] and core.process_facts(pid)
      if facts and wanted(facts, selection) then
        local p = core.attach(pid)
        if p and (not selection.where or selection.where(p)) then return p end
      end
    end
  end
end

--- What a patch is about, as its description says: `CVE-2024-1`, `bsc#1`. That is in its file, if that still is the file.
local function labels_of(patch)
  local container = patch.path and core.container(patch.path)
  return container and container.id == patch.id and container.labels or {}
end

--- The live patches in force in a process, newest first, with `pid`, `comm` and `universe` beside them; those that were in
--- force until the program unloaded their library have the state `lost`. `patching` is `enabled`, or says with `reason` why
--- the process is not patched any further.
---
--- Without a process: a list of that for every process that has the runtime.
--- @param p? ulp.Process|integer
--- @return {id: string, target: string, path: string, state: string, lost: string?, time: integer, units: table,
---   labels: string[]}[]
function M.patches(p)
  if p == nil then
    local all = {}
    for one in M.processes{runtime = true} do
      local done, entry = pcall(M.patches, one)
      if done then all[#all + 1] = entry end
    end
    return all
  end
  if type(p) ~= "userdata" then p = assert(attach.attach(p)) end
  local runtime = assert(p:runtime())
  local entry = {pid = p.pid, comm = p.comm, runtime = runtime.kind, universe = runtime:universe()}
  entry.patching, entry.reason = require "ulp.set_patchable".state(runtime)
  for _, patch in ipairs(runtime:patches()) do
    if patch.applied or patch.lost then
      patch.labels = labels_of(patch)
      entry[#entry + 1] = patch
    end
  end
  return entry
end

--- What the runtime in a process has said since the process started, one message a line.
--- @param p ulp.Process|integer
--- @return string
function M.messages(p)
  if type(p) ~= "userdata" then p = assert(attach.attach(p)) end
  return assert(p:runtime()):messages()
end

return M
