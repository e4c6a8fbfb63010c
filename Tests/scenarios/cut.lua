-- The cut between Swift and Lua: nothing that Swift provides decides what a workflow does.
local t = require "ulp.scenario"
local core = require "ulp.core"
require "ulp"

local workflows = {"trigger", "check", "revert", "replace"}
local seen, tables = {}, 0

local function inspect(value, path)
  if type(value) ~= "table" or seen[value] then return end
  seen[value] = true
  tables = tables + 1
  for _, name in ipairs(workflows) do t.ok(rawget(value, name) == nil, ("%s has no member %s"):format(path, name)) end
  for key, member in pairs(value) do inspect(member, path .. "." .. tostring(key)) end
end

inspect(core, "ulp.core")
-- The classes of handles: Lua's additions go to their members too, so a workflow there must be Lua's own function.
local classes = 0
for name, metatable in pairs(debug.getregistry()) do
  if type(name) == "string" and name:match "^ulp%." and type(metatable) == "table" then
    classes = classes + 1
    for _, workflow in ipairs(workflows) do
      for _, place in ipairs {metatable, type(metatable.__members) == "table" and metatable.__members or {}} do
        local member = rawget(place, workflow)
        t.ok(member == nil or debug.getinfo(member, "S").what ~= "C", ("%s.%s is not Swift's"):format(name, workflow))
      end
    end
  end
end
t.ok(tables >= 1 and classes >= 3, ("looked at %d tables and %d classes"):format(tables, classes))
for _, workflow in ipairs(workflows) do
  local provided = require("ulp")[workflow]
  if provided ~= nil then t.eq(debug.getinfo(provided, "S").what, "Lua", "ulp." .. workflow) end
end
