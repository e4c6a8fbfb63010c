--- Plans: what an operation would do, as a value.
local M = {}

local core = require "ulp.core"

--- A container as a handle: paths are opened, handles stay what they are.
--- @param container string|ulp.Container
--- @return ulp.Container
function M.container(container)
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
--- @return ulp.Plan?
--- @return ulp.Error? err
function M.plan(p, containers, reverts)
  return core.plan(p, M.containers(containers), reverts or {})
end

return M
