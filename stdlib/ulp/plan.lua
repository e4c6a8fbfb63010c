--- Plans: what an operation would do, as a value.
local M = {}

local core = require "ulp.core"

--- Raises `usage` for nil: most likely a misspelt name, and nothing to do would look like success.
--- @param given any
--- @param what string
function M.insist(given, what)
  if given == nil then require "ulp.error".raise("usage", ("%s is expected, not nil"):format(what)) end
end

--- A container as a handle: paths are opened, handles stay what they are.
--- @param container string|ulp.Container
--- @return ulp.Container
function M.container(container)
  M.insist(container, "a container or its path")
  if type(container) == "string" then return assert(core.container(container)) end
  return container
end

--- One container or a list of them, as a list of handles.
--- @param containers nil|string|ulp.Container|(string|ulp.Container)[]
--- @return ulp.Container[]
function M.containers(containers)
  if containers == nil then return {} end
  if type(containers) ~= "table" then containers = {containers} end
  local handles = {}
  for index, container in ipairs(containers) do handles[index] = M.container(container) end
  return handles
end

--- The plan to bring containers into force in a process and to take patches out, in one step. Stops and changes nothing.
---
---     print(ulp.plan(p, "fix.so"))
---
--- @param p ulp.Process
--- @param containers nil|string|ulp.Container|(string|ulp.Container)[]
--- @param reverts? string[] ids of patches to be left
--- @param options? {unload: boolean?, pin: boolean?, root: string?, deliver: "path"|"memfd"|nil} see `ulp.ChangeOptions`
--- @return ulp.Plan?
--- @return ulp.Error? err
function M.plan(p, containers, reverts, options)
  local decided = options and {unload = options.unload, pin = options.pin, root = options.root, deliver = options.deliver}
  return core.plan(p, M.containers(containers), reverts or {}, decided)
end

return M
