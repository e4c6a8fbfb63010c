--- What `trigger`, `revert` and `replace` have in common: one change of one process, retried until it is done or the time
--- is over. All decisions are here; Swift does the single steps.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"

--- Seconds for a change that is not told how long it may take.
M.default_timeout = 5

--- @class ulp.ChangeOptions
--- @field consistency? "stack"|"immediate" wait until no thread is inside a function to be replaced (default), or do not
--- @field timeout? number seconds for the whole change; 5 unless given
--- @field max_pause? string|number longest world-stop, such as "5ms", of the switch and of what follows it
--- @field max_carrier? string|number longest borrowing of a thread; destructors are forced to return then, too
--- @field dry_run? boolean return the plan and change nothing
--- @field settle? boolean false: leave the stubs in place
--- @field unload? boolean true: unload what goes out of force, false: keep it; unless given, what may still be used is kept.
---   With a new patch it is decided for its later revert, too
--- @field pin? boolean hold the target library open for as long as the new patch is in force
--- @field recover? boolean false: fail if an unfinished operation is found
--- @field seccomp? "check"|"ignore"|"suspend" the filters of the thread that loads: they must allow it (default), are not looked
---   at, or are suspended until it has loaded. If ulpsh dies meanwhile they are back in force at once
--- @field deliver? "path"|"memfd" how the process comes by the containers: it opens their paths (default), or they are put into
---   sealed memory files of it, for a process that cannot open the paths
--- @field root? string put before the path that the process opens: where it sees our root directory
--- @field receipt? boolean compare the process before and after; `result.receipt` says what differs: `differences` what ulpsh
---   or the patch's code has changed, `others` what somebody else has meanwhile
--- @field constructors? "allow"|"warn"|"refuse" what to do about containers that run code as soon as they are loaded
--- @field ownership? "ignore"|"warn"|"refuse" what to do about containers that somebody other than root and this user can change
---   or replace, as owners and permissions of file and directories tell; as root `warn`, else `ignore`
--- @field blockers? "wait"|"fail" threads inside a function to be replaced, or in a container to be unloaded: try again until
---   `timeout`, or give up. Unless given, containers are waited for only with `unload = true`

local option_names = {
  consistency = true, timeout = true, max_pause = true, max_carrier = true, dry_run = true, settle = true, unload = true,
  recover = true, seccomp = true, receipt = true, pin = true, constructors = true, blockers = true,
  ownership = true, root = true, deliver = true,
}

--- The values of options that choose between policies.
local choices = {
  consistency = {"stack", "immediate"}, constructors = {"allow", "warn", "refuse"}, blockers = {"wait", "fail"},
  ownership = {"ignore", "warn", "refuse"}, seccomp = {"check", "ignore", "suspend"},
  deliver = {"path", "memfd"},
}

local function check_choice(name, value)
  if value == nil then return end
  local quoted = {}
  for index, choice in ipairs(choices[name]) do
    if choice == value then return end
    quoted[index] = ("'%s'"):format(choice)
  end
  err.raise("usage", ("the option '%s' is %s, not '%s'"):format(name, table.concat(quoted, " or "), tostring(value)))
end

--- @param options ulp.ChangeOptions?
--- @param names? table<string, boolean> the options that there are, if not those of a change
--- @return ulp.ChangeOptions
function M.options(options, names)
  options = options or {}
  for name in pairs(options) do
    if not (names or option_names)[name] then err.raise("usage", ("there is no option '%s'"):format(tostring(name))) end
  end
  local timeout = options.timeout
  if timeout ~= nil and (type(timeout) ~= "number" or timeout < 0 or timeout ~= timeout) then
    err.raise("usage", "the option 'timeout' must be a number of seconds")
  end
  if options.root ~= nil and type(options.root) ~= "string" then err.raise("usage", "the option 'root' must be a path") end
  if options.root and options.deliver == "memfd" then
    err.raise("usage", "'root' and 'deliver = \"memfd\"' exclude each other: a memory file is opened by no path")
  end
  for _, name in ipairs {"unload", "pin"} do
    if options[name] ~= nil and type(options[name]) ~= "boolean" then
      err.raise("usage", ("the option '%s' must be true or false"):format(name))
    end
  end
  for name in pairs(choices) do check_choice(name, options[name]) end
  return options
end

--- Failures that another attempt may not meet.
M.passing = {
  ["operation.busy"] = true, ["operation.expired"] = true, ["call.busy"] = true, ["switch.max_pause"] = true,
  ["process.unstoppable"] = true, ["carrier.none"] = true, ["process.starting"] = true,
}
local passing = M.passing

--- Sleeps between attempts, longer each time, never past the deadline.
local function pause(attempt, deadline)
  local left = deadline - core.clock()
  local wanted = math.min(0.001 * 2 ^ math.min(attempt - 1, 7), 0.1, left)
  local wake = core.clock() + wanted
  while core.clock() < wake do core.sleep(wake - core.clock()) end
end

local function warn_in(result, text)
  result.warnings = result.warnings or {}
  table.insert(result.warnings, text)
end

local function blocked(p, outcome, attempts)
  local names = {}
  for index, blocker in ipairs(outcome.blockers) do
    if index > 3 then break end
    local place = blocker["function"] or blocker.symbol or blocker.library
    local form = not blocker.incomplete and "thread %d in %s" or place and "thread %d may be in %s (its stack cannot be unwound)"
      or "thread %d (its stack cannot be unwound, and is too deep to be searched)"
    names[index] = form:format(blocker.tid, place or "?")
  end
  return err.new("patch.blocked", ("process %d: %s; nothing was switched"):format(p.pid, table.concat(names, ", ")), {
    pid = p.pid, blockers = outcome.blockers, attempts = attempts,
  })
end

--- Whether nobody is in the way but threads that stand in a detour for a moment.
local function is_transient(outcome)
  for _, blocker in ipairs(outcome.blockers) do
    if blocker.reason ~= "transient" then return false end
  end
  return true
end

--- Switches a staged operation, letting go and trying again while threads are in the way.
local function switch(p, staged, options, deadline, result)
  local request = {check = options.consistency or "stack", max_pause = options.max_pause, settle = options.settle ~= false}
  local attempt = 0
  while true do
    attempt = attempt + 1
    local done, outcome = pcall(p.switch, p, staged, request)
    if done and outcome.switched then
      result.pause_us, result.threads, result.attempts = staged.pause_us, outcome.threads, attempt
      return
    end
    if not done and not (err.is(outcome) and passing[outcome.code]) then error(outcome, 0) end
    if core.clock() >= deadline or done and options.blockers == "fail" and not is_transient(outcome) then
      error(done and blocked(p, outcome, attempt) or outcome, 0)
    end
    pause(attempt, deadline)
  end
end

--- Calls a step of a change that is in force already, again where that may help and there is time.
local function insist(step, deadline)
  local attempt = 0
  while true do
    attempt = attempt + 1
    local done, outcome = pcall(step)
    if done or not (err.is(outcome) and passing[outcome.code]) or core.clock() >= deadline then return done, outcome end
    pause(attempt, deadline)
  end
end

--- Whether a thread is in a container that is to be unloaded.
local function is_occupied(outcomes)
  for _, outcome in ipairs(outcomes) do
    if outcome.state == "occupied" then return true end
  end
  return false
end

--- Gives containers back. Whoever demands that they go, or says that threads in the way are to be waited for, gets that until
--- the time is over.
local function unload(runtime, staged, options, deadline)
  local wait = options.blockers == "wait" or options.unload == true and options.blockers ~= "fail"
  local attempt = 0
  while true do
    attempt = attempt + 1
    local request = {unload = options.unload, max_carrier = options.max_carrier, wait = wait and core.clock() < deadline}
    local outcomes = runtime:unload(staged, request)
    if not is_occupied(outcomes) then return outcomes end
    pause(attempt, deadline)
  end
end

--- Direct jumps, free slots, and containers given back. The change is in force already, so a failure here is reported in
--- the result and left for the next operation to finish.
local function tidy(runtime, staged, options, deadline, result)
  if options.settle == false then return end
  local done, failure = insist(function() return runtime:settle(staged) end, deadline)
  result.settled = done
  if not done then
    result.settle_error = failure
    return
  end
  result.settle_pause_us = staged.settle_pause_us
  local unloaded, outcome = pcall(unload, runtime, staged, options, deadline)
  result.pause_us, result.carrier_us = math.max(result.pause_us, staged.pause_us), staged.carrier_us
  if unloaded then
    if #outcome > 0 then result.containers = outcome end
  else
    result.unload_error = outcome
  end
end

--- What is known of the code that runs as soon as the containers of a plan are loaded. Raises when that is not wanted.
local function check_constructors(p, plan, options, result)
  if (options.constructors or "allow") == "allow" then return end
  for _, apply in ipairs(plan.applies) do
    local names = {}
    for index, name in ipairs(apply.constructors) do names[index] = name end
    for _, library in ipairs(apply.brings) do names[#names + 1] = "those of " .. library end
    if #names > 0 then
      local listed = table.concat(names, ", ")
      local text = ("%s runs constructors in process %d when it is loaded: %s"):format(apply.path, p.pid, listed)
      if options.constructors == "refuse" then
        err.raise("container.constructors", text, {
          pid = p.pid, path = apply.path, constructors = apply.constructors, brings = apply.brings,
        })
      end
      warn_in(result, text)
    end
  end
end

--- Whether the files are what whoever made them meant: nobody else may have been able to change them.
local function check_ownership(p, plan, options, result)
  local policy = options.ownership or core.user_id() == 0 and "warn" or "ignore"
  if policy == "ignore" then return end
  for _, apply in ipairs(plan.applies) do
    if #apply.exposures > 0 then
      local text = ("%s is not only in our hands: %s"):format(apply.path, table.concat(apply.exposures, "; "))
      if policy == "refuse" then
        err.raise("container.ownership", text, {pid = p.pid, path = apply.path, exposures = apply.exposures})
      end
      warn_in(result, text)
    end
  end
end

--- One attempt: recover, plan, stage, switch, settle.
---
--- Finishes or undoes what a dead tool left. When that is done and only its containers could not be given back just now, what
--- was found is told all the same, and the next attempt goes on.
local function recover(runtime, options, kept)
  local found = runtime:state()
  local limits = {seccomp = options.seccomp, max_pause = options.max_pause, max_carrier = options.max_carrier}
  local done, outcome = pcall(runtime.recover, runtime, limits)
  if done then
    kept.recovered = outcome
    return
  end
  if err.is(outcome) and runtime:state() == "idle" then
    kept.recovered = {state = found, what = ("an operation was found %s and dealt with; then: %s"):format(found, outcome.message)}
  end
  error(outcome, 0)
end

--- `kept` survives a failed attempt: what was recovered in one is told by the one that succeeds.
local function attempt(p, make_plan, options, deadline, kept)
  local facts = p.facts
  local result = {pid = p.pid, comm = facts.comm, inner_pid = facts.inner_pid}
  local runtime = assert(p:runtime())
  if runtime:state() ~= "idle" then
    if options.recover == false then
      err.raise("operation.pending", ("process %d has an unfinished operation"):format(p.pid), {pid = p.pid})
    end
    if not options.dry_run then recover(runtime, options, kept) end
  end
  result.recovered = kept.recovered
  local plan, reverted, cleaned = make_plan(p, runtime)
  result.universe, result.cleaned = plan and plan.universe, cleaned
  if not plan or plan.empty then
    result.state = cleaned and "done" or "already"
    return result
  end
  check_ownership(p, plan, options, result)
  check_constructors(p, plan, options, result)
  if options.dry_run then -- the plan tells its warnings itself
    result.state, result.plan = "skipped", tostring(plan)
    return result
  end
  for _, text in ipairs(plan.warnings) do warn_in(result, text) end
  if runtime.kind == "suse" then
    result.reverted = reverted
    return require "ulp.suse".change(p, runtime, plan, options, deadline, result)
  end
  local left = math.max(0.001, deadline - core.clock())
  local staged <close> = runtime:stage(plan, {
    timeout = left, seccomp = options.seccomp, max_carrier = options.max_carrier, max_pause = options.max_pause,
  })
  switch(p, staged, options, deadline, result)
  result.state, result.universe = "done", staged.universe
  result.carrier_us = staged.carrier_us
  result.reverted = reverted
  if #plan.lost > 0 then result.lost = plan.lost end
  tidy(runtime, staged, options, deadline, result)
  result.receipt = staged.receipt
  return result
end

--- Raises `receipt.differs` for a receipt with a difference that only ulpsh can have caused. What the called code changed
--- (a constructor, a destructor) is told in the result and is no error.
--- @param result table
--- @return table result
function M.insist_on_same(result)
  for _, difference in ipairs(result.receipt and result.receipt.differences or {}) do
    if difference.cause == "ulpsh" then
      local message = ("process %d: %s was %s, is %s"):format(result.pid, difference.what, difference.before, difference.after)
      err.raise("receipt.differs", message, {pid = result.pid, receipt = result.receipt, result = result})
    end
  end
  return result
end

--- Calls `body` with receipts on, if `wanted`; else as they are.
--- @param wanted boolean?
--- @param body function
--- @return any ... what `body` returns
function M.with_receipts(wanted, body, ...)
  if not wanted then return body(...) end
  local was = core.set_receipts(true)
  local results = table.pack(pcall(body, ...))
  core.set_receipts(was)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- What reading a process says that is on its way out, or into another program: it has no memory, root directory, owner or
--- threads any more.
local signs_of_the_end = {
  ["memory.unreadable"] = true, ["memory.unwritable"] = true, ["process.permission"] = true, ["process.corrupt"] = true,
  ["process.unstoppable"] = true, ["container.invisible"] = true, ["container.undeliverable"] = true, ["file.unreadable"] = true,
  ["process.gone"] = true, ["carrier.none"] = true, ["call.lost"] = true, ["call.timeout"] = true, ["container.changed"] = true,
  ["runtime.disabled"] = true, ["runtime.corrupt"] = true, ["process.zombie"] = true, ["process.not_found"] = true,
  ["process.foreign_loader"] = true, ["process.starting"] = true,
}

--- Whether the leader has ended or is in the kernel's hands, as it is in the middle of an execve.
local function is_in_between(p)
  local known, state = pcall(function() return p.state end)
  return not known or state == "Z" or state == "D"
end

--- What a failure is only a consequence of: the process's end, or another program that it executes. That takes it a moment.
--- @return "gone"|"exec"|nil
local function fate(p, code)
  for look = 1, signs_of_the_end[code] and 100 or 1 do
    if not p.alive then return "gone" end
    if p.replaced then return "exec" end
    if look > 10 and code ~= "process.gone" and not is_in_between(p) then break end
    if signs_of_the_end[code] then core.sleep(0.002) end
  end
end

--- A failure of a process that lives: what said that it has gone was one of its threads, in the middle of an execve most often.
local function as_of_the_living(p, failure)
  if not err.is(failure, "process.gone") then return failure end
  local message = ("process %d: threads ended when they were worked with, until the time was over"):format(p.pid)
  return err.new("process.unstoppable", message, {pid = p.pid, cause = failure.code})
end

--- Carries out one change of one process.
---
--- `make_plan(p, runtime)` returns the plan, or nil when nothing is to be done; then the ids that it takes back, and what it
--- wrote off already. Raises when the change is refused or the time
--- is over; a process that ends meanwhile gives the state `gone`, and one that executes another program `process.exec`.
--- @param p ulp.Process
--- @param make_plan fun(p: ulp.Process, runtime: ulp.Runtime): ulp.Plan?, string[]?, table[]?
--- @param options ulp.ChangeOptions
--- @return table result
function M.run(p, make_plan, options)
  -- For ever is a number, too: times are nanoseconds in 64 bits somewhere.
  local deadline = core.clock() + math.min(options.timeout or M.default_timeout, 1e8)
  local tries, kept = 0, {}
  while true do
    tries = tries + 1
    local done, result = M.with_receipts(options.receipt, pcall, attempt, p, make_plan, options, deadline, kept)
    if done then return M.insist_on_same(result) end
    local what = err.is(result) and fate(p, result.code)
    if what == "exec" then
      local message = ("process %d executed another program during the work, which is as it was started"):format(p.pid)
      err.raise("process.exec", message, {pid = p.pid, cause = result.code})
    end
    if what == "gone" then
      local gone = err.is(result, "process.gone") and result
        or err.new("process.gone", ("process %d ended during the work"):format(p.pid))
      return {state = "gone", pid = p.pid, code = gone.code, message = gone.message, hint = gone.hint}
    end
    -- A tool that died while its carrier was on the way leaves an operation that appears after we have looked: the next
    -- attempt recovers it. And where the process lives, a thread of it was all that ended.
    local passes = err.is(result) and (passing[result.code] or result.code == "process.gone"
      or result.code == "operation.pending" and options.recover ~= false)
    if not passes or core.clock() >= deadline then error(as_of_the_living(p, result), 0) end
    pause(tries, deadline)
  end
end

local many = false

--- Says how many processes are to be changed: the work for many is not to come before theirs.
--- @param count integer
function M.expect(count)
  many = count > 4
  if many then core.hasten(false) end
end

--- Runs `one(p)` for one process, or for each of a list; then failures become results of their processes.
--- @param target ulp.Process|integer|(ulp.Process|integer)[]
--- @param one fun(p: ulp.Process): table
--- @return table result or list of results
function M.each(target, one)
  local attach = require "ulp.attach".attach
  if type(target) ~= "table" then
    local p = target
    local was = core.hasten(not many)
    local done, result = pcall(function()
      if type(p) ~= "userdata" then p = assert(attach(p)) end
      return one(p)
    end)
    core.hasten(was)
    if not done then error(result, 0) end
    return result
  end
  M.expect(#target)
  local results = {}
  for index, member in ipairs(target) do
    local p, refusal = member, nil
    if type(p) ~= "userdata" then p, refusal = attach(p) end
    local opened <close> = p ~= member and p or nil
    local done, result
    if p then done, result = pcall(one, p) else done, result = false, refusal end
    -- What was learnt of each of a thousand processes, and their descriptors, would be too much.
    if p and not opened then p:refresh() end
    if index % 64 == 0 then collectgarbage() end
    if not done then
      -- Ctrl-C is meant for the whole list.
      if not err.is(result) or err.is(result, "script.interrupted") then error(result, 0) end
      local failure = {}
      for name, value in next, result do failure[name] = value end
      failure.state, failure.pid = "failed", p and p.pid or member
      result = failure
    end
    results[index] = result
  end
  return results
end

--- `nil, err` instead of raising.
function M.try(body, ...)
  local done, result = pcall(body, ...)
  if done then return result end
  if not err.is(result) or err.is(result, "script.interrupted") then error(result, 0) end
  return nil, result
end

return M
