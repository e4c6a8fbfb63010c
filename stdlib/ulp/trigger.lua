--- Applying live patches.
local M = {}

local transition = require "ulp.transition"
local plans = require "ulp.plan"

--- Applies one or several containers to a process, all of them in one step or none.
---
---     ulp.trigger(p, "fix.so")
---     ulp.trigger(p, {"libssl_fix.so", "libcrypto_fix.so"}, {timeout = 10, max_pause = "5ms"})
---
--- The containers are loaded on a borrowed thread while the program runs; then the world is stopped once, for the check and
--- the switch. Applying what is applied already is `already`. Raises with a code when it is refused or does not succeed in
--- time, and then nothing has changed. With a list of processes each gets its result and nothing raises.
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param containers string|ulp.Container|(string|ulp.Container)[]
--- @param options? ulp.ChangeOptions
--- @return table result `state` done, already, skipped or gone; `pause_us`, `carrier_us`
--- @return fun()? undo takes back what this call did
function M.trigger(p, containers, options)
  options = transition.options(options)
  plans.insist(containers, "a container, its path, or a list of them")
  local handles = plans.containers(containers)
  local function one(process)
    return transition.run(process, function(target)
      return assert(plans.plan(target, handles, nil, options))
    end, options)
  end
  local result = transition.each(p, one)
  local function undo() return require("ulp.revert").revert(p, handles) end
  return result, result.state == "done" and undo or nil
end

--- `ulp.trigger` that returns `nil, err` instead of raising.
function M.try_trigger(...) return transition.try(M.trigger, ...) end

return M
