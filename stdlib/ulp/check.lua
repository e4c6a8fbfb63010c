--- Whether a patch is in force, proved from the process itself.
local M = {}

local transition = require "ulp.transition"
local plans = require "ulp.plan"
local err = require "ulp.error"

local endbr64 = "\xf3\x0f\x1e\xfa"

--- Where a function's entry leads: the address in its detour, or nil when calls reach the original.
--- @param p ulp.Process
--- @param entry integer
--- @return integer?
local function detour_of(p, entry)
  local bytes = p:read(entry - 14, 14 + 6)
  local point = bytes:sub(15, 18) == endbr64 and 19 or 15
  local jump = point == 19 and "\xeb\xec" or "\xeb\xf0"
  if bytes:sub(point, point + 1) ~= jump or bytes:sub(1, 6) ~= "\xff\x25\0\0\0\0" then return nil end
  return (string.unpack("<i8", bytes, 7))
end

--- The newest replacement of every function, from all patches in force (newest first).
local function expected_targets(patches)
  local targets = {}
  for _, patch in ipairs(patches) do
    if patch.applied then
      for _, unit in ipairs(patch.units) do
        targets[unit.entry] = targets[unit.entry] or {address = unit.replacement, patch = patch}
      end
    end
  end
  return targets
end

--- What is wrong with a patch that the journal calls applied: functions whose entry does not lead where it should.
local function contradictions(p, patch, patches)
  local targets, lost, superseded = expected_targets(patches), {}, 0
  local pool = p:describe(patch.units[1] and patch.units[1].entry or 0)
  for _, unit in ipairs(patch.units) do
    local wanted = targets[unit.entry]
    local done, detour = pcall(detour_of, p, unit.entry)
    local place = done and detour and p:describe(detour)
    -- An unsettled entry leads through a stub of the runtime, which selects by the universe.
    local through_stub = place and place.library:match "^libpulp%.so"
    if not done or not (detour == wanted.address or through_stub) then
      lost[#lost + 1] = unit.entry
    elseif wanted.patch ~= patch then
      superseded = superseded + 1
    end
  end
  return lost, superseded, pool
end

local function check_one(p, container)
  local facts = p.facts
  local result = {pid = p.pid, comm = facts.comm, inner_pid = facts.inner_pid, id = container.id, applied = false}
  local runtime = assert(p:runtime())
  local patching, reason = require "ulp.set_patchable".state(runtime)
  if reason then result.patching, result.patching_reason = patching, reason end
  local patches = runtime:patches()
  local found, gone
  for _, patch in ipairs(patches) do
    if patch.applied and patch.id == container.id then found = found or patch end
    if patch.lost and patch.id == container.id then gone = gone or patch end
  end
  if not found and gone then
    local refusal = err.new("patch.lost", ("%s is not in force any more: %s"):format(container.path, gone.lost))
    result.state, result.code, result.message, result.hint = "failed", refusal.code, refusal.message, refusal.hint
    result.attention, result.reason = true, gone.lost
    return result
  end
  if not found then
    local refusal = err.new("patch.not_applied", ("%s is not applied"):format(container.path))
    result.state, result.code, result.message = "skipped", refusal.code, refusal.message
    result.hint = "apply it with `ulpsh trigger`"
    return result
  end
  local lost, superseded = contradictions(p, found, patches)
  if #lost > 0 and runtime.kind == "suse" and runtime:state() ~= "idle" then
    local refusal = err.new("operation.pending", ("a tool has left the writes for %s to be made"):format(container.path), {
      hint = ("`ulpsh recover %d` makes or discards them"):format(p.pid),
    })
    result.state, result.code, result.message, result.hint = "failed", refusal.code, refusal.message, refusal.hint
    result.attention = true
    return result
  end
  if #lost > 0 then
    local refusal = err.new("patch.lost", ("%d of %d functions do not lead to %s"):format(#lost, #found.units, container.path))
    result.state, result.code, result.message, result.hint = "failed", refusal.code, refusal.message, refusal.hint
    result.attention, result.lost = true, lost
    return result
  end
  result.state, result.applied, result.functions, result.superseded = "done", true, #found.units, superseded
  result.time, result.universe = found.time, runtime:universe()
  return result
end

--- The same with a receipt, if receipts are on.
local function check_observed(p, container)
  local observation = p:observe()
  local result = check_one(p, container)
  if not observation then return result end
  result.receipt = observation:finish()
  return transition.insist_on_same(result)
end

--- Tells whether a patch is in force: by the runtime's journal, and by the entry bytes of every function it replaces. Stops
--- nothing; with `receipt = true`, `result.receipt` proves it.
---
---     ulp.check(p, "fix.so").applied
---
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param container string|ulp.Container
--- @param options? {receipt: boolean?}
--- @return {applied: boolean, state: string, code: string?, receipt: table?} result
function M.check(p, container, options)
  local wanted = transition.options(options, {receipt = true}).receipt
  local handle = plans.container(container)
  return transition.each(p, function(process)
    return transition.with_receipts(wanted, check_observed, process, handle)
  end)
end

return M
