--- The cases of scripts/torture. usage: ulpsh torture.lua [ROUNDS [CASE...]]
local t = require "ulp.scenario"

local cases = dofile((arg[0]:match "^(.*)/" or ".") .. "/cases.lua")
local rounds = tonumber(arg[1] or 1000)
local wanted = table.move(arg, 2, #arg, 1, {})
if #wanted == 0 then wanted = cases.names end

for _, name in ipairs(wanted) do
  local began = t.clock()
  local result = assert(cases[name], "there is no case " .. name)(rounds)
  print(("%-10s %6d rounds %5d refused  pause %8.1f us median %9.1f us longest  %6.1f s  %s"):format(
    name, result.rounds, result.refused, result.median or 0, result.longest or 0, t.clock() - began, result.remark or ""))
  io.stdout:flush()
end
t.clean()
