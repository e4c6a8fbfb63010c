--- The conversation with SUSE's libpulp in a process, on its primitives `enter` and `queue`.
---
--- SUSE's runtime has no staging: one entry point loads, records and queues the writes while every thread stands still. So
--- all that could fail is checked before (`ulp.plan`), a set of patches is one change after the other, and what was done is
--- taken back when a later one fails.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"

--- What SUSE's error numbers mean here. The rest is `stage.failed`.
local codes = {
  [3] = "process.gone", [11] = "carrier.none", [62] = "call.timeout", [75] = "container.malformed", [257] = "target.build_id",
  [266] = "container.malformed", [267] = "target.function_missing", [268] = "stage.symbols", [269] = "container.no_metadata",
  [270] = "stage.symbols", [271] = "runtime.corrupt", [272] = "patch.not_applied", [273] = "patch.dependency",
  [274] = "target.not_loaded", [275] = "operation.busy", [276] = "target.not_loaded", [278] = "entry.not_prepared",
  [280] = "runtime.disabled", [281] = "runtime.version", [282] = "runtime.disabled", [284] = "patch.not_applied",
  [285] = "runtime.corrupt", [286] = "runtime.version", [288] = "runtime.disabled", [289] = "runtime.disabled",
}

--- The loader's reason why a container cannot be loaded: the last that the runtime said of that, among much else.
local function reason_of(runtime, path)
  local done, text = pcall(runtime.messages, runtime)
  local reason
  for line in (done and text or ""):gmatch "[^\n]+" do
    if line:find("Unable to load shared object", 1, true) then
      local first, last = line:find(path, 1, true)
      reason = first and line:sub(last + 1):gsub("^:%s*", "") or line
    end
  end
  return reason ~= "" and reason or nil
end

--- What one of SUSE's error numbers is here: code, text and hint.
--- @param p ulp.Process
--- @param runtime ulp.SuseRuntime
--- @param number integer as an entry point returned it
--- @param path string what was to be applied or taken back
--- @param opened string? the path that the process was given
--- @return ulp.Error
function M.failure(p, runtime, number, path, opened)
  local text = ("process %d: SUSE's libpulp refused %s: %s (%d)"):format(
    p.pid, path, require "ulp.names.numbers".words(number), number)
  local reason = number == 287 and reason_of(runtime, opened or path)
  return err.new(codes[number] or "stage.failed", reason and text .. ": " .. reason or text, {
    pid = p.pid, number = number, path = path,
  })
end

-- What is sent --------------------------------------------------------------------------------------------------------

--- What the program is called in its own libc; nil where that cannot be read.
local function own_name(p)
  local done, name = pcall(function() return p:cstring((p:unpack(p:symbol "program_invocation_short_name", "<I8"))) end)
  return done and name or nil
end

--- The name by which SUSE's runtime finds the planned library. It compares the program with what that calls itself, and of
--- libraries takes the first whose path contains the name ("libpulp interface", 2.3 and 13.3).
local function name_for(p, apply)
  local libs = p.libs
  if libs[1].path == apply.library_path then return own_name(p) or apply.library end
  for index = 2, #libs do
    local path = libs[index].path
    if path == apply.library_path then
      -- Named by its SONAME, which no path need contain.
      return path:find(apply.library, 1, true) and apply.library or path:match "[^/]*$"
    end
    if path:find(apply.library, 1, true) then
      err.raise("target.not_loaded", ("process %d: SUSE's libpulp would take %s for %s"):format(p.pid, path, apply.library), {
        pid = p.pid, library = apply.library, hint = "it takes the first library whose path contains the name: rename that one",
      })
    end
  end
  err.raise("target.not_loaded", ("process %d: SUSE's libpulp does not find %s"):format(p.pid, apply.library_path), {pid = p.pid})
end

--- What is sent to apply a planned container ("libpulp interface", 1.4).
local function apply_bytes(p, apply)
  local container = assert(core.container(apply.path))
  if container.id ~= apply.id then
    err.raise("container.changed", ("%s was changed since it was checked"):format(apply.path), {path = apply.path})
  end
  local bytes = container:wire(apply.target_path)
  local head, path, build_id, _, rest = string.unpack("<c33s4s4s4", bytes)
  return string.pack("<c33s4s4s4", head, path, build_id, name_for(p, apply) .. "\0") .. bytes:sub(rest)
end

local function from_hex(digits) return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)) end

--- What is sent to revert a patch: its id, and the target library that it is for. The path only has to be there.
local function revert_bytes(p, revert)
  local library = p.libs[revert.library]
  local build_id = from_hex(library and library.build_id or ("00"):rep(20))
  return string.pack("<Bc32s4s4s4", 2, from_hex(revert.id), revert.path .. "\0", build_id, revert.library)
end

-- Steps ---------------------------------------------------------------------------------------------------------------

--- What is to be reverted, the newest first: the runtime keeps a patch for as long as another one depends on it.
local function newest_first(reverts, patches)
  local position, sorted = {}, table.move(reverts, 1, #reverts, 1, {})
  for index, patch in ipairs(patches) do position[patch.id] = index end
  table.sort(sorted, function(a, b) return (position[a.id] or 0) < (position[b.id] or 0) end)
  return sorted
end

--- What is to be applied, each behind those of the plan that it depends on.
local function needed_first(applies)
  local planned, placed, ordered = {}, {}, {}
  for _, apply in ipairs(applies) do planned[apply.id] = apply end
  local function place(apply)
    if placed[apply.id] then return end
    placed[apply.id] = true
    local container = core.container(apply.path)
    for _, id in ipairs(container and container.dependencies or {}) do
      if planned[id] then place(planned[id]) end
    end
    ordered[#ordered + 1] = apply
  end
  for _, apply in ipairs(applies) do place(apply) end
  return ordered
end

--- The steps of a plan: new patches first, so that a library which changes from one to the other is never without. Only a
--- patch that is taken back and applied again has to leave before it comes.
local function steps_of(plan, patches)
  local steps, again, reverts = {}, {}, newest_first(plan.reverts, patches)
  for _, apply in ipairs(plan.applies) do again[apply.id] = true end
  for _, revert in ipairs(reverts) do
    if again[revert.id] then steps[#steps + 1] = {revert = revert, functions = revert.functions, path = revert.path} end
  end
  for _, apply in ipairs(needed_first(plan.applies)) do
    steps[#steps + 1] = {apply = apply, functions = apply.functions, path = apply.path}
  end
  for _, revert in ipairs(reverts) do
    if not again[revert.id] then steps[#steps + 1] = {revert = revert, functions = revert.functions, path = revert.path} end
  end
  return steps
end

local function entries_of(step)
  local entries = {}
  for index, item in ipairs(step.functions) do entries[index] = type(item) == "table" and item.entry or item end
  return entries
end

--- Why one attempt did not do it.
local function refusal_of(p, runtime, step, outcome, attempt, wrong)
  if outcome.blockers then
    return err.new("patch.blocked", ("process %d: threads are inside functions of %s"):format(p.pid, step.path), {
      pid = p.pid, blockers = outcome.blockers, attempts = attempt,
    })
  end
  if wrong >= 20 then
    return err.new("runtime.disabled", ("process %d: SUSE's libpulp says that somebody allocates or loads, and nobody does: its "
      .. "count went wrong, as it does in a forked child and when a thread is cancelled there"):format(p.pid), {
      pid = p.pid, number = outcome.value, hint = "it will say so for ever: restart the program when you can",
    })
  end
  local refusal = M.failure(p, runtime, outcome.value, step.path, step.apply and step.apply.target_path)
  if outcome.value == 273 and step.revert then
    refusal.hint = "revert the patch that depends on it first, or both together"
  end
  return refusal
end

--- Whether another attempt may not meet a failure.
local function passes(refusal)
  for _, code in ipairs {"patch.blocked", "carrier.none", "process.unstoppable", "operation.busy"} do
    if err.is(refusal, code) then return true end
  end
  return false
end

--- Takes one step, letting go and trying again while threads are in the way.
local function take(p, runtime, step, options, deadline)
  local bytes = step.apply and apply_bytes(p, step.apply) or revert_bytes(p, step.revert)
  local attempt, pause, wrong, blocked = 0, 0.001, 0, nil
  while true do
    attempt = attempt + 1
    local limits = {
      timeout = math.max(0.001, deadline - core.clock()), seccomp = options.seccomp, max_pause = options.max_pause,
      entries = entries_of(step), check = options.consistency or "stack",
    }
    local began = core.clock()
    local done, outcome = pcall(runtime.enter, runtime, "__ulp_trigger", bytes, limits)
    if done and outcome.value == 0 then return outcome, attempt end
    -- We looked, and nobody was inside.
    wrong = done and outcome.value == 11 and wrong + 1 or 0
    local refusal = done and refusal_of(p, runtime, step, outcome, attempt, wrong) or outcome
    blocked = done and outcome.blockers and refusal or blocked
    local is_final = options.blockers == "fail" and done and outcome.blockers
    if is_final or not passes(refusal) or core.clock() >= deadline then
      -- Who was in the way says more than that the last of many attempts met something that passes.
      return nil, passes(refusal) and blocked or refusal
    end
    -- A moment in which nobody is in the allocator is rare in a busy program: it takes many looks. In between it runs for at
    -- least as long as it was held.
    local rest = math.max(pause, core.clock() - began)
    core.sleep(math.min(rest, math.max(0, deadline - core.clock())))
    pause = math.min(pause * 2, 0.02)
  end
end

--- The step that undoes another.
local function inverse(p, step)
  if step.apply then
    local revert = {id = step.apply.id, path = step.apply.target_path, library = step.apply.library}
    return {revert = revert, functions = entries_of(step), path = step.path}
  end
  local container = core.container(step.revert.path)
  if not container or container.id ~= step.revert.id then return nil end
  local library = p.libs[step.revert.library]
  local apply = {
    id = container.id, path = container.path, target_path = step.revert.path, library = step.revert.library,
    library_path = library and library.path or "",
  }
  return {apply = apply, functions = step.functions, path = step.path}
end

--- Undoes steps, the last first. Returns what could not be undone.
local function take_back(p, runtime, steps)
  local left = {}
  for index = #steps, 1, -1 do
    local back = inverse(p, steps[index])
    local called, done = pcall(take, p, runtime, back or {}, {consistency = "immediate"}, core.clock() + 5)
    if not (back and called and done) then left[#left + 1] = steps[index].path end
  end
  return left
end

--- What is asked for and SUSE's runtime cannot do, in words.
local function warn_of(options, result)
  local warnings = result.warnings or {}
  local function warn(text) table.insert(warnings, "SUSE's libpulp " .. text) end
  if options.pin then warn "does not hold libraries open: `pin` has no effect" end
  if options.unload then warn "never unloads containers: `unload` has no effect" end
  if options.max_carrier then warn "loads while the world stands still: `max_carrier` has no effect" end
  result.warnings = #warnings > 0 and warnings or nil
end

--- Adds the receipt of a step to that of the change.
local function add_receipt(result, receipt)
  if not receipt then return end
  local whole = result.receipt or {stops = 0, world_stops = 0, calls = 0, carriers_met = 0, differences = {}}
  for _, name in ipairs {"stops", "world_stops", "calls", "carriers_met"} do whole[name] = whole[name] + receipt[name] end
  table.move(receipt.differences, 1, #receipt.differences, #whole.differences + 1, whole.differences)
  result.receipt = whole
end

--- Carries a plan out. All of it, or nothing: when a step fails, those before it are taken back.
--- @param p ulp.Process
--- @param runtime ulp.SuseRuntime
--- @param plan ulp.Plan
--- @param options ulp.ChangeOptions
--- @param deadline number of `core.clock`
--- @param result table gets `state`, `pause_us`, `carrier_us`, `runtime`
--- @return table result
function M.change(p, runtime, plan, options, deadline, result)
  local taken = {}
  result.runtime, result.pause_us, result.attempts = "suse", 0, 0
  warn_of(options, result)
  -- A patch that the runtime still lists is "already applied" to it, whatever became of its library.
  local lost = {}
  for index, patch in ipairs(plan.lost) do lost[index] = patch.id end
  if #lost > 0 then result.lost = runtime:forget(lost) end
  for _, step in ipairs(steps_of(plan, runtime:patches())) do
    local called, outcome, attempts = pcall(take, p, runtime, step, options, deadline)
    if not (called and outcome) then
      local left = #taken > 0 and take_back(p, runtime, taken) or {}
      outcome = called and attempts or outcome
      if #left > 0 and err.is(outcome) then outcome.not_undone = left end
      error(outcome, 0)
    end
    taken[#taken + 1] = step
    -- Nothing else runs while the entry point does: the longest single stop is what the program felt.
    result.pause_us = math.max(result.pause_us, outcome.pause_us)
    result.attempts = result.attempts + attempts
    add_receipt(result, outcome.receipt)
    for _, text in ipairs(outcome.prints) do
      if text ~= "" then
        result.warnings = result.warnings or {}
        table.insert(result.warnings, "SUSE's libpulp says: " .. text)
      end
    end
  end
  result.carrier_us, result.state = result.pause_us, "done"
  return result
end

return M
