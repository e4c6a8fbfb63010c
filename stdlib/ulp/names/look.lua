--- `ulp patches`, `check`, `messages` and `set_patchable`: what is known of a process, and the switch for patching.
local M = {}

local render = require "ulp.render.suse"
local selection = require "ulp.names.selection"

local process_option = {
  long = "process", short = "p", value = "PID|NAME", help = "a process, or a wildcard for names; all with libpulp if left out",
}
local user_option = {long = "user", short = "u", value = "USER", help = "only processes of this user"}
local threading_option = {long = "disable-threading", help = "accepted and ignored"}

-- patches -------------------------------------------------------------------------------------------------------------

--- The name that the tool has for an object: that of the program for its executable, else the path it was loaded from.
local function name_of(p, object) return object.main and p.comm or object.path end

--- The labels that were found, by patch id.
local known_labels = {}

--- Whether builds of libraries are prepared, by build ID: thousands of processes map the same few files.
local prepared = {}

local function is_prepared(p, object)
  local id = object.build_id
  if not id then return p:prepared(object.name) end
  if prepared[id] == nil then prepared[id] = p:prepared(object.name) end
  return prepared[id]
end

--- The objects of a process that can be patched, with their patches, newest first. The runtime counts as one, as it does
--- with SUSE's.
local function objects_of(p, patches, version)
  local objects, libs = {}, p.libs
  for index = 1, #libs do
    -- The tool's order: the program, then the link map from its end.
    local object = libs[index == 1 and 1 or #libs + 2 - index]
    local entry = {name = name_of(p, object), build_id = object.build_id, patches = {}}
    for _, patch in ipairs(patches) do
      if patch.applied and (patch.target == object.name or object.main and patch.target == object.path:match "[^/]*$") then
        patch.labels = require "ulp.inventory".labels_of(p, patch, known_labels)
        entry.patches[#entry.patches + 1] = patch
      end
    end
    local is_runtime = object.name:match "^libpulp%.so" ~= nil
    if is_runtime then entry.version = version end
    if is_runtime or #entry.patches > 0 or is_prepared(p, object) then objects[#objects + 1] = entry end
  end
  return objects
end

--- The runtime's version, as it tells other tools.
local function version_of(p)
  local address = p:symbol "__ulp_version"
  local done, text = pcall(function() return address and p:cstring(address) end)
  return done and text or nil
end

--- @type ulp.names.Command
M.patches = {
  summary = "List the live patches of running processes.",
  options = {
    process_option, user_option, {long = "buildid", short = "b", help = "print build IDs"},
    {long = "only-livepatched", help = "leave out processes without live patches"}, threading_option,
    {long = "color", value = "yes|no|auto", help = "accepted and ignored"},
  },
  run = function(program, given)
    local complete = selection.each(program, given, function(p, runtime, comm)
      local patches = runtime:patches()
      local applied = false
      for _, patch in ipairs(patches) do applied = applied or patch.applied end
      if given["only-livepatched"] and not applied then return end
      io.stdout:write(render.patches({
        pid = p.pid, comm = comm, error_state = runtime:error_state(), objects = objects_of(p, patches, version_of(p)),
      }, {build_ids = given.buildid}))
    end)
    return complete and 0 or 1
  end,
}

-- check ---------------------------------------------------------------------------------------------------------------

--- A numeric `-p`, or the mistake in words.
local function numeric_pid(given)
  if not given.process then return nil, "option -p is missing" end
  if not given.process:match "^%d+$" then return nil, "option -p takes the number of a process" end
  return given.process
end

--- @type ulp.names.Command
M.check = {
  summary = "Tell whether a live patch is applied: exit status 1 if it is, 0 if not.",
  operand = "CONTAINER",
  options = {process_option},
  run = function(program, given, operand)
    if not operand then return "a container is missing" end
    local pid, mistake = numeric_pid(given)
    if not pid then return mistake end
    local ulp = require "ulp"
    local done, result = pcall(function()
      local p <close> = assert(ulp.attach(pid))
      return ulp.check(p, operand)
    end)
    if not done then
      if not require "ulp.error".is(result) then error(result, 0) end
      program:failure(result)
      return 255
    end
    program:warn("patch '%s' is %sapplied in process %s.", operand, result.applied and "" or "not ", pid)
    return result.applied and 1 or 0
  end,
}

-- messages ------------------------------------------------------------------------------------------------------------

local ring_size = 2097152

--- The bytes of a runtime's message ring, oldest first, with the NULs between the messages. Stops nothing.
--- @param p ulp.Process
--- @return string
local function ring_of(p)
  local err = require "ulp.error"
  local queue = p:symbol "__ulp_msg_queue"
  if not queue then err.raise("runtime.missing", ("process %d has no message queue"):format(p.pid), {pid = p.pid}) end
  local _, bottom, distance = p:unpack(queue + ring_size, "<I4I4I4")
  if bottom >= ring_size or distance > ring_size then
    err.raise("runtime.corrupt", ("the message queue of process %d is malformed"):format(p.pid), {pid = p.pid})
  end
  local first = math.min(distance, ring_size - bottom)
  return p:read(queue + bottom, first) .. p:read(queue, distance - first)
end

--- @type ulp.names.Command
M.messages = {
  summary = "Print what libpulp has said in a process.",
  options = {process_option},
  run = function(program, given)
    local pid, mistake = numeric_pid(given)
    if not pid then return mistake end
    local p <close>, err = require "ulp".attach(pid)
    if not p then
      program:failure(err)
      return 1
    end
    local done, text = pcall(ring_of, p)
    if not done then
      if not require "ulp.error".is(text) then error(text, 0) end
      program:failure(text)
      return 1
    end
    io.stdout:write(text)
    return 0
  end,
}

-- set_patchable -------------------------------------------------------------------------------------------------------

--- @type ulp.names.Command
M.set_patchable = {
  summary = "Enable or disable live patching in running processes.",
  operand = "enable|disable",
  options = {process_option, user_option, {long = "retries", short = "r", value = "N", help = "attempts before giving up"},
    threading_option},
  run = function(program, given, operand)
    local enable = operand and operand:lower() == "enable"
    if not enable and operand ~= "disable" then
      program:warn("'enable' or 'disable' expected, not '%s'", operand or "")
      return 1
    end
    if given.retries and not given.retries:match "^%d+$" then return "option '--retries' takes a number" end
    local attempts = math.max(1, math.tointeger(tonumber(given.retries)) or 1)
    selection.each(program, given, function(p, _, comm)
      local result, err
      for _ = 1, attempts do
        result, err = require "ulp".try_set_patchable(p, enable)
        if result or err.code == "process.gone" then break end
        require "ulp.core".sleep(0.001)
      end
      if not result then
        program:failure(err)
      elseif result.state == "done" and not program.quiet then
        io.stderr:write(("Process %s (pid: %d): livepatching is now %s.\n"):format(
          require "ulp.render.pretty".clean(comm), p.pid, enable and "enabled" or "disabled"))
      end
    end)
    return program.restricted and 1 or 0
  end,
}

return M
