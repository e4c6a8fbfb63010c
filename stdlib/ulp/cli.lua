--- Subcommands: finding them, their options, their output, how they end.
---
--- A command is a file in `stdlib/commands` that returns a `ulp.cli.Command`.
local M = {}

local core = require "ulp.core"

--- @class ulp.cli.Command
--- @field summary string one line for `ulpsh help`
--- @field configure fun(parser: table)? declares arguments with argparse
--- @field run fun(options: table, out: ulp.cli.Output): integer? returns an exit status, or nil for that of the results

--- Exit statuses.
M.status = {done = 0, failed = 1, usage = 2, script = 3, nothing = 4, attention = 5}

--- Codes of mistakes on the command line, and of mistakes in Lua code; all others are answers about targets.
local script_codes = {["script.error"] = true, ["script.interrupted"] = true, internal = true}

--- How bad a state is, from the exit status' point of view. A process that is gone needs no patch any more.
local status_of_state = {done = 0, already = 0, skipped = 0, gone = 0, refused = 1, failed = 1}

--- Whether an error is an answer about a target or the command line.
local function is_answer(err)
  return require "ulp.error".is(err) and not script_codes[err.code]
end

--- The traceback of the mistake that is on its way through nested `M.try`s.
local pending_trace

--- `pcall` that gives the traceback of the place where a mistake happened, also if it is raised again further out.
--- @return boolean done
--- @return any result or error
--- @return string? trace
function M.try(body, ...)
  return (function(done, result, ...)
    local trace = pending_trace
    if done or is_answer(result) then pending_trace = nil end
    if done then return done, result, ... end
    return false, result, trace
  end)(xpcall(body, function(err)
    if not is_answer(err) then pending_trace = pending_trace or debug.traceback(nil, 2) end
    return err
  end, ...))
end

-- Output --------------------------------------------------------------------------------------------------------------

--- Where a command puts its results: text or JSON lines, and the exit status that follows from them.
--- @class ulp.cli.Output
--- @field json boolean
--- @field count integer results so far
--- @field worst integer exit status so far
local Output = {}
Output.__index = Output

--- @param as_json boolean
--- @return ulp.cli.Output
function M.output(as_json)
  local renderer = require(as_json and "ulp.render.json" or "ulp.render.human")
  return setmetatable({json = as_json, renderer = renderer, count = 0, worst = 0}, Output)
end

--- Prints a result table, and remembers how it ended.
--- @param result table
function Output:result(result)
  self.count = self.count + 1
  local status = result.attention and M.status.attention or result.code == "usage" and M.status.usage
    or status_of_state[result.state] or 0
  self.worst = math.max(self.worst, status)
  self.renderer.result(result)
end

--- Prints something that is no result: `text` for people, a line of type `kind` for programs.
--- @param kind string
--- @param members table
--- @param text string
function Output:note(kind, members, text)
  if self.json then
    io.stdout:write(self.renderer.line(kind, members), "\n")
  else
    io.stdout:write(text, "\n")
  end
end

--- Prints an error and counts it as a failure.
--- @param err any
function Output:failure(err)
  self.worst = math.max(self.worst, M.status.failed)
  self.renderer.failure(err)
end

-- Commands ------------------------------------------------------------------------------------------------------------

--- The names of all commands, sorted. Reads the directory through the loader's own means: each name is listed here.
M.names = {
  "cc", "check", "dump", "extract", "help", "livepatchable", "messages", "pack", "patches", "plan", "post", "recover",
  "replace", "reverse", "revert", "run", "set_patchable", "test", "trigger",
}

--- The file of a command; nil if there is none.
--- @param name string
--- @return string?
local function file_of(name)
  if not core.stdlib_path or not name:match "^%l[%l%d_]*$" then return nil end
  return package.searchpath(name, core.stdlib_path .. "/commands/?.lua")
end

--- Loads a command; nil if there is none of this name.
--- @param name string
--- @return ulp.cli.Command?
function M.load(name)
  local path = file_of(name)
  return path and dofile(path)
end

--- The parser of a command's arguments.
--- @param name string
--- @param command ulp.cli.Command
--- @return table
function M.parser(name, command)
  local parser = require "argparse" ("ulpsh " .. name, command.summary)
  parser:help_max_width(80)
  if command.configure then command.configure(parser) end
  parser:flag "--json":description "Print results and errors as JSON lines."
  return parser
end

--- The command with the most similar beginning, for a hint.
local function similar(name)
  for length = #name, 1, -1 do
    for _, candidate in ipairs(M.names) do
      if candidate:sub(1, length) == name:sub(1, length) then return candidate end
    end
  end
end

local function usage_error(text)
  local clean = require "ulp.render.pretty".clean
  io.stderr:write("ulpsh: ", (text:gsub("[^\n]+", clean)), "\n")
  return M.status.usage
end

--- Runs a command. The executable calls this.
--- @param name string
--- @param arguments string[]
--- @param as_json boolean `--json` came before the command
--- @return integer status
function M.main(name, arguments, as_json)
  local command = M.load(name)
  if not command then
    local near = similar(name)
    return usage_error(("unknown command '%s'%s"):format(name, near and (", did you mean '%s'?"):format(near) or ""))
  end
  local parser = M.parser(name, command)
  local parsed, options = parser:pparse(arguments)
  if not parsed then
    io.stderr:write(parser:get_usage(), "\n")
    return usage_error(options)
  end
  local out = M.output(as_json or options.json or false)
  local done, status, trace = M.try(command.run, options, out)
  if done then return status or out.worst end
  return M.failed(status, trace, out)
end

--- The exit status for what a command raised. A coded error is an answer; anything else is a mistake in Lua code.
--- @param err any
--- @param trace string?
--- @param out ulp.cli.Output
--- @return integer
function M.failed(err, trace, out)
  if require "ulp.error".is(err, "script.interrupted") then error(err, 0) end
  if is_answer(err) then
    out:failure(err)
    return err.code == "usage" and M.status.usage or out.worst
  end
  out.renderer.failure(err, trace)
  return M.status.script
end

-- Options that several commands share ---------------------------------------------------------------------------------

--- Declares `-p PID|NAME|GLOB`, `--user` and `--lib`.
--- @param parser table
function M.selection_options(parser)
  parser:option "-p --process":argname "<pid|name|glob>":count "*"
    :description "A process ID, or a name, which may contain * and ?. May be repeated."
  parser:option "-u --user":argname "<user>":description "Only processes of this user."
  parser:option "--unit":argname "<unit>":description "Only processes of this unit of systemd, which may contain * and ?."
  parser:option "--container":target "within":argname "<id>"
    :description "Only processes in this container: its ID, at least 8 digits of it, or its name."
end

--- Declares the options of commands that change processes.
--- @param parser table
function M.change_options(parser)
  parser:option "--timeout":argname "<seconds>":convert(tonumber):description "Give up after this time."
  parser:option "--consistency":choices {"stack", "immediate"}
    :description "Wait until no thread is inside a function to be switched (stack), or do not."
  parser:option "--max-pause":argname "<duration>"
    :description "Let go unpatched if the world-stop would be longer, for example 5ms."
  M.receipt_option(parser)
  parser:option "--unload":choices {"yes", "no", "auto"}
    :description "Unload containers that go out of force, keep them, or keep those that may still be used (auto)."
  parser:option "--max-carrier":argname "<duration>"
    :description "Let go unpatched if a thread would be borrowed for longer; constructors are forced to return."
  parser:option "--constructors":choices {"allow", "warn", "refuse"}
    :description "What to do about patches that run code as soon as they are loaded."
  parser:option "--ownership":choices {"ignore", "warn", "refuse"}
    :description "What to do about patches that somebody other than root and you can change or replace."
  parser:option "--blockers":choices {"wait", "fail"}
    :description "Threads inside a function to be switched or a patch to be unloaded: wait until the timeout, or give up."
  M.seccomp_option(parser)
  parser:flag "--dry-run":description "Print the plan and change nothing."
end

--- Declares `--seccomp`.
--- @param parser table
function M.seccomp_option(parser)
  parser:option "--seccomp":choices {"check", "ignore", "suspend"}
    :description "Filters of the thread that loads: they must allow it, are not looked at, or are suspended meanwhile."
end

--- Declares `--receipt`.
--- @param parser table
function M.receipt_option(parser)
  parser:flag "--receipt"
    :description "Compare registers, signals, mappings, descriptors and more before and after, and say what differs."
end

--- Declares the option of commands that apply patches.
--- @param parser table
function M.pin_option(parser)
  parser:option "-R --root":argname "<prefix>":description "Put this before the path under which the process opens the patch."
  M.deliver_option(parser)
  parser:flag "--pin":description "Hold the target library open: the program cannot unload it while it is patched."
end

--- Declares `--deliver`.
--- @param parser table
function M.deliver_option(parser)
  parser:option "--deliver":choices {"path", "memfd"}
    :description "The process opens the patch by its path, or it is put into a sealed memory file of it."
end

local unload_choices = {yes = true, no = false}

--- The options table for `ulp.trigger` and the like.
--- @param options table what argparse returned
--- @return table
function M.change(options)
  return {
    timeout = options.timeout, consistency = options.consistency, max_pause = options.max_pause,
    max_carrier = options.max_carrier, constructors = options.constructors,
    ownership = options.ownership, blockers = options.blockers,
    dry_run = options.dry_run or nil, receipt = options.receipt or nil, unload = unload_choices[options.unload],
    pin = options.pin or nil, root = options.root, deliver = options.deliver, seccomp = options.seccomp,
  }
end

--- The processes that were asked for. Without `-p`: those that `filter` describes.
---
--- A PID that cannot be attached is reported through `out` and left out.
--- @param options table
--- @param out ulp.cli.Output
--- @param filter table? for `ulp.processes`
--- @return (table|integer)[] processes for `M.each`
function M.processes(options, out, filter)
  local ulp = require "ulp"
  local found, seen = {}, {}
  local function add(pid, entry)
    if not seen[pid] then
      seen[pid] = true
      found[#found + 1] = entry
    end
  end
  local function add_all(criteria)
    criteria.user, criteria.unit, criteria.container = options.user, options.unit, options.within
    for pid in require "ulp.inventory".pids(criteria) do add(pid, pid) end
  end
  local wanted = options.process or {}
  for _, word in ipairs(wanted) do
    local pid = word:match "^%d+$" and math.tointeger(tonumber(word))
    if pid then
      local process, err = ulp.attach(pid)
      if process then add(pid, process) else out:failure(err) end
    else
      add_all {name = word}
    end
  end
  if #wanted == 0 then
    found.sweep = true
    local criteria = {}
    for name, value in pairs(filter or {}) do criteria[name] = value end
    add_all(criteria)
  end
  return found
end

--- The containers of these paths. Raises if one cannot be read.
--- @param paths string[]
--- @return table[]
function M.containers(paths)
  local containers = {}
  for index, path in ipairs(paths) do containers[index] = assert(require "ulp".container(path)) end
  return containers
end

--- The selection of all processes that a container is for.
--- @param container table
--- @return table
function M.users_of(container)
  return {lib = container.target:match "[^/]*$"}
end

-- So many processes are worth a second copy of this program.
local divided_from = 64

--- How many of the processes this program works on itself: all, or half of them if there are many and another processor.
local function own_share(processes)
  local half = (#processes + 1) // 2
  if #processes < divided_from or core.processors() < 2 then return #processes end
  for index = half + 1, #processes do
    if math.type(processes[index]) ~= "integer" then return #processes end
  end
  return half
end

--- Runs `body(process)` for each process and prints the results, if it returns any. A raised error becomes a result; the
--- others go on.
---
--- With `divides` a copy of this program does half of them meanwhile, if they are many: `body` must not keep anything.
---
--- Returns 4 if there was no process, else nil: the status follows from the results.
--- @param processes (table|integer)[] handles, or PIDs that are opened one after the other; what cannot be is passed over
--- @param out ulp.cli.Output
--- @param body fun(process: table): table?
--- @param divides boolean?
--- @return integer?
function M.each(processes, out, body, divides)
  local count = 0
  if #processes > 4 then require "ulp.transition".expect(#processes) end
  local function visit(process)
    count = count + 1
    local done, result = M.try(body, process)
    if not done then result = M.result_of(result, process) end
    -- Nobody asked for this one: the file is mapped, but by something else than the loader.
    if processes.sweep and result and result.code == "runtime.missing" then result = nil end
    for _, one in ipairs(result and (result[1] and result or {result}) or {}) do out:result(one) end
  end
  local function visit_all(first, last)
    for index = first, last do
      local entry = processes[index]
      if math.type(entry) == "integer" then
        -- One handle at a time: thousands of processes would take thousands of descriptors.
        local handle = core.attach(entry)
        local process <close> = handle
        if process then visit(process) end
        if index % 64 == 0 then collectgarbage() end -- what refers to a closed handle keeps its descriptors
      else
        visit(entry)
      end
    end
  end
  local own = divides and own_share(processes) or #processes
  local worker <close> = own < #processes and core.worker(function()
    out.worst, count = 0, 0
    visit_all(own + 1, #processes)
    return out.worst + (count > 0 and 16 or 0)
  end)
  visit_all(1, own)
  if own < #processes then
    local status, output
    if worker then
      while not worker.ended do core.sleep(0.002) end -- in slices, so that a Ctrl-C takes effect
      status, output = worker:finish()
    end
    if status then
      io.stdout:write(output)
      out.worst = math.max(out.worst, status % 16)
      count = count + status // 16
    else
      visit_all(own + 1, #processes) -- what a worker has done before it died, is done
    end
  end
  if count > 0 then return nil end
  if out.worst > 0 then return out.worst end
  out.renderer.failure(require "ulp.error".new("process.not_found", "no process matches", {
    hint = "a process can be patched if it is yours, or you are root, and it was started with libpulp.so preloaded",
  }))
  return M.status.nothing
end

--- An error as the result of its process. Mistakes in Lua code are raised again.
--- @param err any
--- @param process table
--- @return table
function M.result_of(err, process)
  if not is_answer(err) then error(err, 0) end
  local known, comm = pcall(function() return process.comm end) -- nothing is left to be asked when it has gone
  local is_gone = err.code == "process.gone" or process.alive == false
  local result = {comm = known and comm or nil}
  for name, value in next, err do result[name] = value end
  -- Facts of the failure come second to what every result has.
  result.state, result.pid = is_gone and "gone" or "failed", process.pid
  return result
end

return M
