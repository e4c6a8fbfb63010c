--- `ulp trigger`: applies and reverts live patches.
local M = {}

local numbers = require "ulp.names.numbers"
local render = require "ulp.render.suse"
local selection = require "ulp.names.selection"

--- @type ulp.names.Command
local trigger = {
  summary = "Apply a live patch, or a wildcard of them, to running processes.",
  operand = "CONTAINER",
  options = {
    {long = "process", short = "p", value = "PID|NAME", help = "a process, or a wildcard for names; all if left out"},
    {long = "retries", short = "r", value = "N", help = "attempts before giving up"},
    {long = "root", short = "R", value = "PREFIX", help = "put this before the path that the process loads"},
    {long = "revert", help = "take the patch back"},
    {long = "revert-all", value = "LIB", help = "take back all patches of a library; `target': of the patch's own"},
    {long = "timeout", value = "SECONDS", help = "give up on a process after this time"},
    {long = "recursive", help = "search a wildcard's directory and those below"},
    {long = "check-stack", short = "c", help = "wait until no thread is inside a function to be replaced"},
    {long = "user", short = "u", value = "USER", help = "not supported by this command"},
    {long = "disable-summarization", help = "a line for each patch"},
    {long = "disable-threading", help = "accepted and ignored"},
    {long = "disable-seccomp", help = "suspend the process's seccomp filters while it loads the patch"},
    {long = "color", value = "yes|no|auto", help = "colours"},
  },
}
M.trigger = trigger

--- Whether verdicts are coloured; nil for a word that is none of the three.
local function coloured(word)
  if word == "yes" then return true end
  if word == "no" then return false end
  if word and word ~= "auto" then return nil end
  return not os.getenv "NO_COLOR" and os.getenv "TERM" ~= "dumb" and require "ulp.core".is_terminal(1)
end

--- The change options that SUSE's mean. Its runtime never looked at stacks, so that patches which replace a program's main
--- loop are in use: the stack is checked only with `-c`.
local function change_options(given)
  return {
    timeout = tonumber(given.timeout) or nil, consistency = given["check-stack"] and "stack" or "immediate",
    root = given.root, seccomp = given["disable-seccomp"] and "suspend" or nil,
  }
end

--- What an operation's result is to SUSE's tool.
local function number_of(result)
  if result.state == "already" then return 275 end
  if result.state == "gone" then return 3 end
  return numbers.of_error(result)
end

--- Does one thing with one process: a container's path or nil, read as a container or as the error that forbade it.
local function change(p, given, job)
  local ulp = require "ulp"
  local options = change_options(given)
  if given.revert then
    local result, err = ulp.try_revert(p, job.container, options)
    if result and result.state == "already" then return {number = 272} end
    return result or err
  end
  local library = given["revert-all"]
  if library == "target" and job.container then library = job.container.target end
  if not library then return ulp.try_trigger(p, job.container, options) end
  library = library:match "[^/]*$"
  local result, err = ulp.try_replace(p, library, job.container and {job.container} or {}, options)
  if result and result.state == "already" then
    -- With a container: it is the only one in force, as was asked for.
    return {number = job.container and 0 or p.libs[library] and 284 or 276}
  end
  return result or err
end

--- The outcome of one container in one process, tried as often as asked for.
--- @return ulp.names.Outcome
local function outcome_of(program, p, comm, given, job)
  local text = job.path or ("reverted all patches from '%s'"):format(given["revert-all"])
  if job.failure then
    return {container = text, number = numbers.of(job.failure.code), message = job.failure.message}
  end
  local number, result, err
  for _ = 1, math.max(1, math.tointeger(tonumber(given.retries)) or 1) do
    result, err = change(p, given, job)
    result = result or err
    number = result.number or number_of(result)
    if number == 0 or number == 275 or number == 3 then break end
    require "ulp.core".sleep(0.001)
  end
  if number == 257 then program:debug("buildid mismatch: %s", result.message) end
  if number ~= 0 and result.message then program:debug("%s[%d]: %s", comm, p.pid, result.message) end
  return {container = text, number = number}
end

--- The containers of an operand; what cannot be read fails later, once for each process.
local function jobs_of(given, operand)
  if not operand then return {{}} end
  local jobs = {}
  for index, path in ipairs(selection.containers(operand, given.recursive)) do
    local container, failure = require "ulp".container(path)
    jobs[index] = {path = path, container = container, failure = failure}
  end
  return jobs
end

--- A mistake in the combination of options, in words; nil if there is none.
local function mistake_in(given, operand)
  if not operand and not given["revert-all"] then return "a container is missing" end
  if given.revert and given["revert-all"] then return "options --revert and --revert-all exclude each other" end
  if (given["revert-all"] or "x"):match "[^/]*$" == "" then return "option '--revert-all' takes the name of a library" end
  if coloured(given.color) == nil then return "option '--color' takes yes, no or auto" end
  for _, name in ipairs {"retries", "timeout"} do
    if given[name] and not given[name]:match "^%d+$" then return ("option '--%s' takes a number"):format(name) end
  end
end

--- `--revert-all target` without a container asks for a library of that name, and no process has one.
local function names_nothing(given, operand) return given["revert-all"] == "target" and not operand end

function trigger.run(program, given, operand)
  local mistake = mistake_in(given, operand)
  if mistake then return mistake end
  if given.user then
    program:warn("option -u is not supported by this command")
    return 38
  end
  if names_nothing(given, operand) then
    program:warn("--revert-all=target needs a container, without one nothing is reverted")
  end
  local jobs, status = jobs_of(given, operand), 0
  if #jobs == 0 then program:warn("no live patch matches '%s'", operand) end
  local patched, skipped, failed = 0, 0, 0
  local shape = {summarize = not given["disable-summarization"], colour = coloured(given.color)}
  selection.each(program, given, function(p, _, comm)
    local outcomes, done, bad = {}, false, false
    for index, job in ipairs(jobs) do
      local outcome = outcome_of(program, p, comm, given, job)
      outcomes[index] = outcome
      if outcome.number == 0 then
        done = true
      elseif not numbers.is_skipped(outcome.number) then
        bad, status = true, status | outcome.number
      end
    end
    patched, failed = patched + (done and 1 or 0), failed + (bad and 1 or 0)
    skipped = skipped + ((not done and not bad and #jobs > 0) and 1 or 0)
    local text = not program.quiet and render.process(comm, p.pid, outcomes, shape)
    if text then io.stdout:write(text, "\n") end
  end)
  local totals = render.totals(patched, skipped, failed)
  if totals then io.stdout:write(totals, "\n") end
  return numbers.status(status | (program.restricted and 1 or 0))
end

return M
