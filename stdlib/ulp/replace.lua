--- Replacing all patches of a library by others, in one step.
local M = {}

local transition = require "ulp.transition"
local plans = require "ulp.plan"

--- Takes every patch of a library out of force and brings the containers into force, with one switch: at no moment is the
--- library unpatched.
---
---     ulp.replace(p, "libz.so.1", "libz_cumulative.so")
---
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param library string file name of the target library
--- @param containers string|ulp.Container|(string|ulp.Container)[]
--- @param options? ulp.ChangeOptions
--- @return table result
function M.replace(p, library, containers, options)
  options = transition.options(options)
  local handles = plans.containers(containers)
  local kept = {}
  for _, container in ipairs(handles) do kept[container.id] = true end
  return transition.each(p, function(process)
    return transition.run(process, function(target, runtime)
      local left, lost = {}, {}
      for _, patch in ipairs(runtime:patches()) do
        if patch.target == library and not kept[patch.id] then
          if patch.applied then left[#left + 1] = patch.id elseif patch.lost then lost[#lost + 1] = patch.id end
        end
      end
      local cleaned = #lost > 0 and not options.dry_run and runtime:forget(lost, {seccomp = options.seccomp}) or nil
      return assert(plans.plan(target, handles, left, options)), left, cleaned
    end, options)
  end)
end

--- `ulp.replace` that returns `nil, err` instead of raising.
function M.try_replace(...) return transition.try(M.replace, ...) end

return M
