--- What a live scenario is written with. A scenario is one Lua file that starts targets, patches them, and raises an
--- error where the world differs from what it expects; `ulpsh test` runs each in a process of its own.
---
---     -- timeout: 60
---     local t = require "ulp.scenario"
---     local c <close> = t.target {"numserv", preload = true}
---     c:ask("dozen", "12\n", {reject = "13"})
local core = require "ulp.core"
local spawn = require "ulp.spawn"
local transition = require "ulp.transition"

local M = {}

--- Seconds for which a scenario waits for what must come. Only what fails takes them: a busy machine, or a slow one, is nothing
--- that a scenario is about.
M.patience = 30
transition.default_timeout = M.patience

--- How many comparisons were made; with `spawn.expectations` the proof that a scenario tested something.
M.checks = 0

--- Where the test targets were built.
M.targets = os.getenv "ULPSH_TARGETS" or ".build/targets"

--- The runtime that is preloaded where `preload = true`, if it is not ours.
--- @type string?
M.runtime = nil

--- The directory of the scenario that runs.
M.here = "."

local temporary -- directory of this scenario, made when first needed

-- Comparisons

local function show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" or (getmetatable(value) or {}).__tostring then return tostring(value) end
  local parts = {}
  for key, member in pairs(value) do parts[#parts + 1] = ("%s=%s"):format(key, show(member)) end
  table.sort(parts)
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function same(left, right)
  if type(left) ~= "table" or type(right) ~= "table" then return left == right end
  for key, value in pairs(left) do if not same(value, right[key]) then return false end end
  for key in pairs(right) do if left[key] == nil then return false end end
  return true
end

--- Fails unless `value` is true for Lua; returns it.
---@generic T
---@param value T
---@param what? string what was expected, for the report
---@return T
function M.ok(value, what)
  M.checks = M.checks + 1
  if not value then error((what or "a condition") .. ": does not hold", 2) end
  return value
end

--- Fails unless both values are the same; tables are compared by content.
function M.eq(found, expected, what)
  M.checks = M.checks + 1
  if not same(found, expected) then
    error(("%s: expected %s, found %s"):format(what or "values differ", show(expected), show(found)), 2)
  end
end

--- What a change meets on a machine where a thread gets no processor for a while, whatever else is wrong with it.
local late = {["process.unstoppable"] = true, ["carrier.none"] = true}

--- Calls what is to be refused; again, while it is for that reason and not for the expected one. Returns what `pcall` does.
local function refusal(code, action)
  local deadline = core.clock() + M.patience
  while true do
    local results = table.pack(pcall(action))
    local said = results[1] and results[2] == nil and results[3] or results[2]
    local is_late = type(said) == "table" and said.code ~= code and late[said.code]
    if not is_late or core.clock() >= deadline then return table.unpack(results, 1, 3) end
  end
end

--- Fails unless `action` raises an error with this code, or returns `nil` and one; returns the error.
---@param code string
---@param action fun(): any
---@return table err
function M.raises(code, action)
  M.checks = M.checks + 1
  local results = table.pack(refusal(code, action))
  local err = results[2]
  if results[1] then
    if results[2] ~= nil or results[3] == nil then
      error(("expected the error %s, but it went well: %s"):format(code, show(results[2])), 2)
    end
    err = results[3]
  end
  if type(err) ~= "table" or err.code ~= code then
    error(("expected the error %s, found: %s"):format(code, tostring(err)), 2)
  end
  if not err.message or err.message == "" or not err.hint or err.hint == "" then
    error(("the error %s lacks its message or its hint"):format(code), 2)
  end
  return err
end

--- Fails unless `action` is refused with this code, either by an error or by a result that says so; returns what said it.
---@param code string
---@param action fun(): any
function M.refused(code, action)
  M.checks = M.checks + 1
  local done, result, err = refusal(code, action)
  local said = done and result == nil and err or result
  if type(said) ~= "table" or said.code ~= code or (done and said.state == "done") then
    error(("expected a refusal with %s, found: %s"):format(code, show(said)), 2)
  end
  if not said.message or said.message == "" or not said.hint or said.hint == "" then
    error(("the refusal with %s lacks its message or its hint"):format(code), 2)
  end
  return said
end

--- Fails unless the result of a transition has this state; the report shows the whole result.
function M.state(result, expected, what)
  M.checks = M.checks + 1
  if type(result) ~= "table" or result.state ~= expected then
    error(("%s: expected the state %s, found %s"):format(what or "result", expected, show(result)), 2)
  end
  return result
end

--- Carries out a single step, such as `p:switch`, again while it fails for what a change would try again for, too: a thread
--- that gets no processor within the limit of one stop, say. Returns what it returns.
---@param step fun(): any
function M.insist(step)
  local deadline = core.clock() + M.patience
  while true do
    local results = table.pack(pcall(step))
    local failure = results[2]
    if results[1] then return table.unpack(results, 2, results.n) end
    local passes = type(failure) == "table" and transition.passing[failure.code]
    if not passes or core.clock() >= deadline then error(failure, 0) end
    core.sleep(0.01)
  end
end

--- Waits until `condition` holds; fails if it never does.
---@generic T
---@param condition fun(): T
---@param what? string what was waited for, for the report
---@return T
function M.wait_until(condition, what)
  M.checks = M.checks + 1
  local deadline = core.clock() + M.patience
  while true do
    local value = condition()
    if value then return value end
    if core.clock() >= deadline then error((what or "what was waited for") .. ": did not come in time", 2) end
    core.sleep(0.005)
  end
end

--- Ends the scenario as skipped. The reason must be in the list of allowed skips, or the runner counts a failure.
---@param reason string the missing capability
function M.skip(reason) error({skip = reason}, 0) end

--- What `shared/NAME.lua` beside the scenario returns: code that several scenarios have in common.
function M.shared(name)
  return dofile(M.here .. "/shared/" .. name .. ".lua")
end

-- Targets and patches

--- The path of something built from Tests/targets; an absolute path stays what it is.
function M.path(name)
  if name:sub(1, 1) == "/" then return name end
  if M.targets:sub(1, 1) ~= "/" then M.targets = assert(core.absolute_path(M.targets)) end
  return M.targets .. "/" .. name
end

--- Starts a target and waits until it says that it is ready. Options are those of `ulp.spawn`; the runtime is preloaded
--- unless `preload = false`.
---@param options ulp.SpawnOptions|string
---@return ulp.Spawned
function M.target(options)
  if type(options) == "string" then options = {options} end
  local request = {preload = true}
  for key, value in pairs(options) do request[key] = value end
  request[1] = M.path(options[1])
  local child = M.spawn(request)
  child:expect "ready\n"
  return child
end

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
  return path
end

M.read_file, M.write_file = read_file, write_file

--- Copies a file. One that was there before is left to whoever has mapped it: cut short it would be the end of a process.
local function copy_file(from, to)
  os.remove(to)
  return write_file(to, read_file(from))
end

--- A directory that is removed when the scenario ends.
function M.directory()
  if not temporary then temporary = core.make_temporary_directory "ulpsh-scenario-" end
  return temporary
end

--- Removes what the scenario has left in the file system. The runner calls it.
function M.clean()
  if temporary then core.remove_tree(temporary) end
  temporary = nil
end

---@class ulp.PatchOptions
---@field target? string path of the target library to pack against, instead of the description's
---@field units? string[] lines `old:new` instead of the description's
---@field as? string name of the packed file

--- Packs the live patch described by NAME.dsc of the targets and returns the container's path. The parts are copied
--- first, so that every call gives a file of its own.
---@param name string
---@param options? ulp.PatchOptions
function M.patch(name, options)
  options = options or {}
  local lines = {}
  for line in read_file(M.path(name .. ".dsc")):gmatch "[^\n]+" do lines[#lines + 1] = line end
  local container = M.directory() .. "/" .. (options.as or name) .. ".so"
  copy_file(M.path(lines[1]), container)
  lines[1] = container
  lines[2] = "@" .. (options.target or M.path(lines[2]:sub(2)))
  if options.units then lines = table.move(options.units, 1, #options.units, 3, {lines[1], lines[2]}) end
  local description = write_file(container:gsub("%.so$", ".dsc"), table.concat(lines, "\n") .. "\n")
  return assert(require("ulp").pack(description)).path
end

--- FNV-1a, for names of files; contents are compared.
local function digest(text)
  local hash = 0xcbf29ce484222325
  for index = 1, #text do hash = (hash ~ text:byte(index)) * 0x100000001b3 end
  return ("%016x"):format(hash)
end

--- Everything that decides what a request to the compiler makes, as one text.
local function recipe(options)
  local parts = {}
  for name, value in pairs(options) do parts[#parts + 1] = ("%s=%s"):format(name, show(value)) end
  table.sort(parts)
  local inputs = {options.target}
  for _, name in ipairs {"source", "libraries"} do
    local paths = type(options[name]) == "table" and options[name] or {options[name]}
    table.move(paths, 1, #paths, #inputs + 1, inputs)
  end
  local position = 1
  while inputs[position] do
    local path = inputs[position]
    local text = read_file(path)
    parts[#parts + 1] = path .. "=" .. text
    for header in text:gmatch '#include "([^"\n]+)"' do inputs[#inputs + 1] = path:gsub("[^/]*$", "") .. header end
    position = position + 1
  end
  parts[#parts + 1] = read_file(core.stdlib_path .. "/ulp/cc.lua") .. read_file(core.stdlib_path .. "/include/ulp.h")
  return table.concat(parts, "\n")
end

--- Compiles with `ulp.cc`, unless the same was compiled before: then the file made then is used. `as` is the file's name.
---
--- The path of a patch is one of this scenario alone; libraries and programs stay where they are, for the next one.
---@param options table as for `ulp.cc`, with `as` instead of `output`
---@return string path
function M.cc(options)
  local request, name = {}, options.as or "made"
  for key, value in pairs(options) do request[key] = value end
  request.as = nil
  local text = recipe(options)
  local path = M.path(("made-%s-%s"):format(digest(text), name))
  local known = io.open(path .. ".recipe", "rb")
  if not (known and known:read "a" == text and io.open(path)) then
    request.output = path
    assert(require("ulp").cc(request))
    local new = ("%s.%x"):format(path, math.random(0))
    assert(os.rename(write_file(new, text), path .. ".recipe"))
  end
  if known then known:close() end
  if request.kind then return path end
  return copy_file(path, ("%s/%s"):format(M.directory(), name))
end

--- Applies and reverts a patch, and has the process show each time what it does: `shows(new, old)` with what is to be
--- expected first, and what is to be rejected second.
---@param process ulp.Process|ulp.Spawned
---@param patch any one patch or a list, as for `ulp.trigger`
---@param states {old: any, new: any}
---@param shows fun(expected: any, rejected: any)
---@param rounds? integer 2 unless given
---@param options? table for trigger and revert
function M.switches(process, patch, states, shows, rounds, options)
  local ulp = require "ulp"
  local p = type(process) == "table" and process.raw and assert(ulp.attach(process.pid)) or process
  options = options or {}
  options.timeout = options.timeout or 20 -- a busy machine is nothing that a scenario is about
  shows(states.old, states.new)
  for round = 1, rounds or 2 do
    M.state(ulp.trigger(p, patch, options), "done", "apply, round " .. round)
    shows(states.new, states.old)
    M.unharmed(p.pid)
    M.state(ulp.revert(p, patch, options), "done", "revert, round " .. round)
    shows(states.old, states.new)
    M.unharmed(p.pid)
  end
end

-- The target as the kernel shows it; none of this goes through what is tested

local function each_thread(pid)
  local tids, index = core.list_directory(("/proc/%d/task"):format(pid)) or {}, 0
  return function()
    index = index + 1
    return tids[index] and tonumber(tids[index])
  end
end

local function status_of(pid, tid)
  local file = io.open(("/proc/%d/task/%d/status"):format(pid, tid))
  if not file then return nil end
  local text = file:read "a" or "" -- a thread that has just ended cannot be read
  file:close()
  local fields = {}
  for name, value in text:gmatch "(%w+):[ \t]*([^\n]*)" do fields[name] = fields[name] or value end
  return fields.State and fields
end

--- The state letter of every thread, in one string: cheap enough to be sampled in a loop.
function M.states(pid)
  local letters = {}
  for tid in each_thread(pid) do
    local file = io.open(("/proc/%d/task/%d/stat"):format(pid, tid))
    local line = file and file:read "a" or ""
    if file then file:close() end
    letters[#letters + 1] = line:match "^.*%) (%a)" or ""
  end
  return table.concat(letters)
end

--- Waits until every thread of the process is asleep: what was sent into a library is there. (Not on its way there, and not
--- waiting for a page of it.)
function M.asleep(pid)
  M.wait_until(function() return M.states(pid):find "^S+$" end, "threads that all sleep")
end

--- The first thread that is stopped or traced, in words; nil if there is none.
local function harmed(pid)
  local count = 0
  for tid in each_thread(pid) do
    local status = status_of(pid, tid)
    if status then
      count = count + 1
      local state = status.State:sub(1, 1)
      if not (state == "Z" and tid == pid) and not state:find "[RSDI]" then
        return ("thread %d of %d is in state %s"):format(tid, pid, status.State)
      end
      if status.TracerPid ~= "0" then return ("thread %d of %d is traced by %s"):format(tid, pid, status.TracerPid) end
    end
  end
  return count == 0 and ("process %d is gone"):format(pid) or nil
end

--- Fails if any thread of the process is stopped or traced, or if the process is gone.
---
--- A thread that got no processor within the tool's time limit is let go when it gets one, so a busy machine is given a
--- moment; what is left in a tracer's hands stays there and is found.
function M.unharmed(pid)
  M.checks = M.checks + 1
  local deadline, what = core.clock() + 2, harmed(pid)
  while what and core.clock() < deadline do
    core.sleep(0.01)
    what = harmed(pid)
  end
  if what then error(what, 2) end
end

local function mappings(pid)
  local rows = {}
  local file = assert(io.open(("/proc/%d/maps"):format(pid)))
  for line in file:lines() do
    local first, last, mode, path = line:match "^(%x+)%-(%x+) (%S+) %x+ %S+ %d+%s*(.*)$"
    rows[#rows + 1] = {first = tonumber(first, 16), last = tonumber(last, 16), mode = mode, path = path}
  end
  file:close()
  return rows
end

--- The executable bytes of a library as they are in the process's memory.
---@param library string the file's name
---@return string
function M.text(pid, library)
  local memory = assert(io.open(("/proc/%d/mem"):format(pid), "rb"))
  local parts = {}
  for _, row in ipairs(mappings(pid)) do
    if row.mode:find "x" and row.path:match "[^/]*$" == library then
      assert(memory:seek("set", row.first))
      parts[#parts + 1] = memory:read(row.last - row.first)
    end
  end
  memory:close()
  if #parts == 0 then error(("%s is not mapped in %d"):format(library, pid), 2) end
  return table.concat(parts)
end

--- What a refused or undone operation must leave as it was: signal masks and actions of every thread, the protections of
--- every file's mappings, the descriptors, and the text of every library.
function M.snapshot(pid)
  local shot = {threads = {}, files = {}, text = {}, descriptors = core.list_directory(("/proc/%d/fd"):format(pid))}
  for tid in each_thread(pid) do
    local status = status_of(pid, tid)
    if status then
      shot.threads[tid] = ("%s %s %s %s"):format(status.SigBlk, status.SigIgn, status.SigCgt, status.Name)
    end
  end
  for _, row in ipairs(mappings(pid)) do
    if row.path:sub(1, 1) == "/" then
      shot.files[#shot.files + 1] = ("%x-%x %s %s"):format(row.first, row.last, row.mode, row.path)
      local name = row.path:match "[^/]*$"
      if row.mode:find "x" and not shot.text[name] then shot.text[name] = M.text(pid, name) end
    end
  end
  return shot
end

--- Fails unless the process is as it was at the snapshot, byte for byte.
function M.unchanged(pid, before)
  M.unharmed(pid)
  local after = M.snapshot(pid)
  for name in pairs(before.text) do
    if after.text[name] ~= before.text[name] then error(("the text of %s was changed"):format(name), 2) end
  end
  for _, part in ipairs {"files", "descriptors", "threads"} do
    local differences = {}
    for key, value in pairs(before[part]) do
      if after[part][key] ~= value then
        differences[#differences + 1] = ("%s was %s, is %s"):format(key, value, after[part][key])
      end
    end
    for key, value in pairs(after[part]) do
      if before[part][key] == nil then differences[#differences + 1] = ("%s is new: %s"):format(key, value) end
    end
    if #differences > 0 then error(("the %s of %d changed: %s"):format(part, pid, table.concat(differences, "; ")), 2) end
  end
end

-- The tool under test, as a process of its own

--- Starts another ulpsh, by default without the terminal. Its errors join its output.
---@param options ulp.SpawnOptions the arguments first
---@return ulp.Spawned
function M.ulpsh(options)
  local request = {core.executable_path}
  for key, value in pairs(options) do
    if math.type(key) == "integer" then request[key + 1] = value else request[key] = value end
  end
  request.timeout = math.max(request.timeout or 0, M.patience)
  return spawn(request)
end

--- `ulp.spawn`, with this scenario's runtime and its patience.
function M.spawn(options)
  local request = {}
  for key, value in pairs(type(options) == "table" and options or {options}) do request[key] = value end
  if request.preload == true then request.preload = M.runtime or true end
  request.timeout = math.max(request.timeout or 0, M.patience)
  return spawn(request)
end

M.clock = core.clock

--- Sleeps in slices: the time limit of the scenario takes effect between two of them.
---@param seconds number
function M.sleep(seconds)
  local deadline = core.clock() + seconds
  repeat core.sleep(math.min(0.2, deadline - core.clock())) until core.clock() >= deadline
end

return M
