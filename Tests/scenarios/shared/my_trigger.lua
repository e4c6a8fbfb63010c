--- A trigger of one's own, from primitives alone: what an operator writes whose idea of retrying differs from ulpsh's.
--- Whatever raises an error in here, nothing is left behind: what is staged undoes itself when its scope ends.
local ulp = require "ulp"

---@param pid integer
---@param path string of the container
---@param between? fun(step: string) called between the steps
---@return integer pause_us
return function(pid, path, between)
  between = between or function() end
  local process <close> = assert(ulp.attach(pid))
  between "attached"
  local container = assert(ulp.container(path))
  between "read"
  local runtime = assert(process:runtime())
  between "found the runtime"
  local plan = assert(ulp.plan(process, container))
  between "planned"

  local staged <close> = runtime:stage(plan)
  between "staged"
  local result
  for attempt = 1, 10 do
    result = process:switch(staged, {check = "stack", max_pause = "50ms"})
    if result.switched then break end
    between("was blocked " .. attempt .. " times")
  end
  if not result.switched then error "the process was never quiet enough" end
  between "switched"
  runtime:settle(staged)
  between "settled"
  return result.pause_us
end
