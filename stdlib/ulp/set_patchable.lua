--- Switching live patching on and off in a process.
local M = {}

local transition = require "ulp.transition"

--- SUSE's error number for "switched off by the user"; the opt-out variables set it as well.
local switched_off = 280

--- Whether a process may be patched further.
--- @param runtime ulp.Runtime
--- @return "enabled"|"disabled"|"quarantined" patching
--- @return string? reason
function M.state(runtime)
  local state = runtime:error_state()
  if state == 0 then return "enabled" end
  if state == switched_off then return "disabled", "switched off by `set_patchable` or a LIBPULP_DISABLE_ON variable" end
  return "quarantined", ("internal error, state %d: do not patch it, restart it when you can"):format(state)
end

--- Switches live patching in processes on or off. While it is off every change is refused with `runtime.disabled`, also a
--- revert; patches in force stay in force and are shown. `true` also lifts what the LIBPULP_DISABLE_ON variables asked for.
---
---     ulp.set_patchable(p, false)
---
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param enabled boolean
--- @return {pid: integer, state: "done"|"already", patching: string}
function M.set_patchable(p, enabled)
  if type(enabled) ~= "boolean" then require "ulp.error".raise("usage", "true or false is expected") end
  return transition.each(p, function(process)
    local runtime = assert(process:runtime())
    local changed = runtime:set_patchable(enabled)
    return {pid = process.pid, comm = process.comm, state = changed and "done" or "already", patching = (M.state(runtime))}
  end)
end

--- `ulp.set_patchable` that returns `nil, err` instead of raising.
function M.try_set_patchable(...) return transition.try(M.set_patchable, ...) end

return M
