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
  [11] = "carrier.none", [62] = "call.timeout", [257] = "target.build_id", [266] = "container.malformed",
  [267] = "target.function_missing", [268] = "stage.symbols", [269] = "container.no_metadata", [270] = "stage.symbols",
  [272] = "patch.not_applied", [273] = "patch.dependency", [276] = "target.not_loaded", [278] = "entry.not_prepared",
  [280] = "runtime.disabled", [285] = "runtime.corrupt",
}

--- The last thing that the runtime said: for a container that cannot be loaded, the loader's reason.
local function last_message(runtime)
  local done, text = pcall(runtime.messages, runtime)
  return done and text:match "([^\n]+)\n*$" or nil
end

local function failure(p, runtime, number, path)
  local numbers = require "ulp.names.numbers"
  local text = ("process %d: SUSE's libpulp refused %s: %s (%d)"):format(p.pid, path, numbers.words(number), number)
  local reason = number == 287 and last_message(runtime)
  return err.new(codes[number] or "stage.failed", reason and text .. ": " .. reason or text, {
    pid = p.pid, number = number, path = path,
  })
end

--- What is sent to apply a planned container ("libpulp interface", 1.4).
local function apply_bytes(apply)
  local container = assert(core.container(apply.path))
  if container.id ~= apply.id then
    err.raise("container.changed", ("%s was changed since it was checked"):format(apply.path), {path = apply.path})
  end
  return container:wire(apply.target_path)
end

local function from_hex(digits) return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)) end

--- What is sent to revert a patch: its id, and the target library that it is for. The path only has to be there.
local function revert_bytes(p, revert)
  local library = p.libs[revert.library]
  local build_id = from_hex(library and library.build_id or ("00"):rep(20))
  return string.pack("<Bc32s4s4s4", 2, from_hex(revert.id), revert.path .. "\0", build_id, revert.library)
end

-- Consistency ---------------------------------------------------------------------------------------------------------

--- Adds the code that calls of a function reach now: a replacement's container, or the function itself.
local function add_code(ranges, p, patches, entry, size)
  for _, patch in ipairs(patches) do
    for _, unit in ipairs(patch.units) do
      if unit.entry == entry then
        for _, library in ipairs(p.libs) do
          if unit.replacement >= library.first and unit.replacement < library.last then
            table.move({library.first, library.last}, 1, 2, #ranges + 1, ranges)
            return
          end
        end
      end
    end
  end
  table.move({entry, entry + math.max(size or 0, 16)}, 1, 2, #ranges + 1, ranges)
end

--- The code in which no thread may be while a step is taken, as pairs of addresses.
local function leaving(p, runtime, step)
  local ranges, patches = {}, runtime:patches()
  for _, item in ipairs(step.functions) do
    local entry = type(item) == "table" and item.entry or item
    add_code(ranges, p, patches, entry, type(item) == "table" and item.size or nil)
  end
  return ranges
end

-- Steps ---------------------------------------------------------------------------------------------------------------

--- The steps of a plan: new patches first, so that a library which changes from one to the other is never without. Only a
--- patch that is taken back and applied again has to leave before it comes.
local function steps_of(plan)
  local steps, again = {}, {}
  for _, apply in ipairs(plan.applies) do again[apply.id] = true end
  for _, revert in ipairs(plan.reverts) do
    if again[revert.id] then steps[#steps + 1] = {revert = revert, functions = revert.functions, path = revert.path} end
  end
  for _, apply in ipairs(plan.applies) do steps[#steps + 1] = {apply = apply, functions = apply.functions, path = apply.path} end
  for _, revert in ipairs(plan.reverts) do
    if not again[revert.id] then steps[#steps + 1] = {revert = revert, functions = revert.functions, path = revert.path} end
  end
  return steps
end

--- Takes one step, letting go and trying again while threads are in the way.
local function take(p, runtime, step, options, deadline)
  local bytes = step.apply and apply_bytes(step.apply) or revert_bytes(p, step.revert)
  local ranges = options.consistency ~= "immediate" and leaving(p, runtime, step) or nil
  local attempt, pause = 0, 0.001
  while true do
    attempt = attempt + 1
    local left = math.max(0.001, deadline - core.clock())
    local limits = {timeout = left, seccomp = options.seccomp}
    local done, outcome = pcall(runtime.enter, runtime, "__ulp_trigger", bytes, limits, ranges)
    if done and outcome.value == 0 then return outcome, attempt end
    local refusal = outcome
    if done and outcome.blockers then
      refusal = err.new("patch.blocked", ("process %d: threads are inside functions of %s"):format(p.pid, step.path), {
        pid = p.pid, blockers = outcome.blockers, attempts = attempt,
      })
    elseif done then
      refusal = failure(p, runtime, outcome.value, step.path)
    end
    local passes = err.is(refusal, "patch.blocked") or err.is(refusal, "carrier.none") or err.is(refusal, "process.unstoppable")
    if not passes or core.clock() >= deadline then error(refusal, 0) end
    core.sleep(math.min(pause, math.max(0, deadline - core.clock())))
    -- A moment in which nobody is in the allocator is rare in a busy program: it takes many looks.
    pause = math.min(pause * 2, 0.02)
  end
end

--- The step that undoes another.
local function inverse(step, plan)
  if step.apply then
    local entries = {}
    for index, item in ipairs(step.apply.functions) do entries[index] = item.entry end
    return {revert = {id = step.apply.id, path = step.apply.target_path, library = step.apply.library}, functions = entries,
      path = step.path}
  end
  local container = core.container(step.revert.path)
  if not container or container.id ~= step.revert.id then return nil end
  return {apply = {id = container.id, path = container.path, target_path = step.revert.path}, functions = step.functions,
    path = step.path, pid = plan.pid}
end

--- Undoes steps, the last first. Returns what could not be undone.
local function take_back(p, runtime, plan, steps)
  local left = {}
  for index = #steps, 1, -1 do
    local back = inverse(steps[index], plan)
    local done = back and pcall(take, p, runtime, back, {consistency = "immediate"}, core.clock() + 5)
    if not done then left[#left + 1] = steps[index].path end
  end
  return left
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
  for _, step in ipairs(steps_of(plan)) do
    local done, outcome, attempts = pcall(take, p, runtime, step, options, deadline)
    if not done then
      local left = #taken > 0 and take_back(p, runtime, plan, taken) or {}
      if #left > 0 and err.is(outcome) then outcome.not_undone = left end
      error(outcome, 0)
    end
    taken[#taken + 1] = step
    -- Nothing else runs while the entry point does: the longest single stop is what the program felt.
    result.pause_us = math.max(result.pause_us, outcome.pause_us)
    result.attempts = result.attempts + attempts
  end
  result.carrier_us, result.state = result.pause_us, "done"
  return result
end

return M
