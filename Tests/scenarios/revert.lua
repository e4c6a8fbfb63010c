-- timeout: 60
-- Three versions stacked on one function, reverted in each of the six orders: what is left on top is in force.
local t = require "ulp.scenario"
local ulp = require "ulp"

local orders = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}}
local patches = {}
for number = 1, 3 do patches[number] = t.patch("version_" .. number) end

local c <close> = t.target {"caller", t.path "libversion.so.0"}
local p <close> = assert(ulp.attach(c.pid))

local function shows(version)
  local others = {}
  for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
end

t.refused("patch.not_applied", function() return ulp.plan(p, {}, {assert(ulp.container(patches[1])).id}) end)
shows(0)
for _, order in ipairs(orders) do
  local applied = {}
  for number = 1, 3 do
    t.state(ulp.trigger(p, patches[number]), "done", "version " .. number)
    applied[number] = true
    shows(number)
  end
  for _, number in ipairs(order) do
    t.state(ulp.revert(p, patches[number]), "done", ("revert of %d in %s"):format(number, table.concat(order, ",")))
    applied[number] = nil
    shows(applied[3] and 3 or applied[2] and 2 or applied[1] and 1 or 0)
    t.ok(ulp.check(p, patches[number]).state ~= "done", "the reverted one is not applied")
    for other in pairs(applied) do t.state(ulp.check(p, patches[other]), "done", other .. " is still applied") end
    t.unharmed(c.pid)
  end
end
t.state(ulp.revert(p, patches[1]), "already", "revert of what is not applied")
t.refused("patch.not_applied", function() return ulp.plan(p, {}, {assert(ulp.container(patches[1])).id}) end)
shows(0)
