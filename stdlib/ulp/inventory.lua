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
--- @field unit? string systemd's unit, or a glob; without its ending a service is meant
--- @field container? string a container's ID, the beginning of one (at least 8 digits), or its name
--- @field lib? string file name of a loaded library
--- @field runtime? boolean only processes with libpulp.so
--- @field where? fun(p: ulp.Process): boolean

--- Whether a process belongs to the unit and the container that are asked for.
local function is_in_group(pid, selection)
  local group = core.control_group(pid)
  local unit, container = selection.unit, selection.container
  if unit then
    local whole = unit:match "%.%l+$" and unit or unit .. ".service"
    if not group.unit or not attach.matches(whole, group.unit) then return false end
  end
  if not container or group.container_id == container then return true end
  return group.container_id ~= nil and #container >= 8 and group.container_id:sub(1, #container) == container
end

local function wanted(facts, selection)
  if selection.pid and facts.pid ~= selection.pid then return false end
  if selection.name and not attach.matches(selection.name, facts.comm) then return false end
  if selection.user and facts.user ~= selection.user and tostring(facts.uid) ~= selection.user then return false end
  if (selection.unit or selection.container) and not is_in_group(facts.pid, selection) then return false end
  if selection.lib and not core.maps_file(facts.pid, selection.lib) then return false end
  return not (selection.runtime or selection.lib) or core.maps_file(facts.pid, "libpulp.so*")
end

--- Iterates over the PIDs of the processes that a selection describes, without opening them. ulpsh and its ancestors are
--- passed over. `where` is not asked: it takes a handle.
--- @param selection? ulp.Selection
--- @return fun(): integer?
function M.pids(selection)
  selection = selection or {}
  local excluded, pids, index = ancestors(), core.pids(), 0
  return function()
    while index < #pids do
      index = index + 1
      local pid = pids[index]
      local facts = not excluded[pid] and core.process_facts(pid)
      if facts and wanted(facts, selection) then return pid end
    end
  end
end

--- Iterates over handles of the processes that a selection describes. ulpsh, its ancestors, and what it may not look into
--- or cannot patch by nature (static programs and the like) are passed over.
---
---     for p in ulp.processes{lib = "libssl.so.3", user = "www-data"} do print(p.pid, p.comm) end
---
--- A handle holds two descriptors until it is closed or collected: close it if there may be thousands.
--- @param selection? ulp.Selection
--- @return fun(): ulp.Process?
function M.processes(selection)
  selection = selection or {}
  local pids = M.pids(selection)
  return function()
    for pid in pids do
      local p = core.attach(pid)
      if p and (not selection.where or selection.where(p)) then return p end
    end
  end
end

--- What a patch is about, as its description says: `CVE-2024-1`, `bsc#1`. That is in its file, if that still is the file.
--- The process may see it below another root directory than we do.
--- @param p ulp.Process
--- @param patch table
--- @param known? table<string, string[]> labels by patch id, found in this run: thousands of processes have the same patch
--- @return string[]
function M.labels_of(p, patch, known)
  if known and known[patch.id] then return known[patch.id] end
  local seen = patch.path and ("/proc/%d/root%s"):format(p.pid, patch.path)
  local container = seen and (core.container(seen) or core.container(patch.path))
  if not container or container.id ~= patch.id then return {} end
  local labels = container.labels
  if known then known[patch.id] = labels end
  return labels
end

--- The live patches in force in a process, newest first, with `pid`, `comm` and `universe` beside them, and where they are
--- known its systemd unit, `unit`, and the container it runs in, `container_id` and `container_engine`; those that were in
--- force until the program unloaded their library have the state `lost`. `patching` is `enabled`, or says with `reason` why
--- the process is not patched any further.
---
--- Without a process: a list of that for every process that has the runtime.
--- @param p? ulp.Process|integer
--- @param known? table<string, string[]> see `labels_of`
--- @return {id: string, target: string, path: string, state: string, lost: string?, time: integer, units: table,
---   labels: string[]}[]
function M.patches(p, known)
  if p == nil then
    local all = {}
    known = known or {}
    for handle in M.processes{runtime = true} do
      local one <close> = handle
      local done, entry = pcall(M.patches, one, known)
      if done then all[#all + 1] = entry end
      if #all % 64 == 0 then collectgarbage() end -- what refers to a closed handle keeps its descriptors
    end
    return all
  end
  if type(p) ~= "userdata" then p = assert(attach.attach(p)) end
  local runtime = assert(p:runtime())
  local facts = p.facts
  local entry = {pid = p.pid, comm = facts.comm, inner_pid = facts.inner_pid, runtime = runtime.kind}
  local group = core.control_group(p.pid)
  entry.unit, entry.container_id, entry.container_engine = group.unit, group.container_id, group.container_engine
  entry.universe = runtime:universe()
  if runtime.kind == "suse" then entry.version, entry.pending = runtime:version(), runtime:state() ~= "idle" or nil end
  entry.patching, entry.reason = require "ulp.set_patchable".state(runtime)
  for _, patch in ipairs(runtime:patches()) do
    if patch.applied or patch.lost then
      patch.labels = M.labels_of(p, patch, known)
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
