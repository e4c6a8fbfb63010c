-- timeout: 60
-- Five versions stacked on one function: each new one is in force at once, and after any revert the newest that is left.
local t = require "ulp.scenario"
local ulp = require "ulp"

local patches = {}
for number = 1, 5 do patches[number] = t.patch("version_" .. number) end
local c <close> = t.target {"caller", t.path "libversion.so.0"}
local p <close> = assert(ulp.attach(c.pid))

local function shows(version)
  local others = {}
  for other = 0, 5 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
end
local function newest(applied)
  for number = 5, 1, -1 do if applied[number] then return number end end
  return 0
end

shows(0)
-- From the top, from the bottom, from the middle outwards, and every other one.
for _, order in ipairs {{5, 4, 3, 2, 1}, {1, 2, 3, 4, 5}, {3, 2, 4, 1, 5}, {5, 3, 1, 4, 2}} do
  local applied, name = {}, table.concat(order, ",")
  for number = 1, 5 do
    t.state(ulp.trigger(p, patches[number]), "done", "version " .. number)
    applied[number] = true
    shows(number)
  end
  t.eq(#ulp.patches(p), 5, "patches in force")
  for _, number in ipairs(order) do
    t.state(ulp.revert(p, patches[number]), "done", ("revert of %d in %s"):format(number, name))
    applied[number] = nil
    shows(newest(applied))
    for other = 1, 5 do t.eq(ulp.check(p, patches[other]).applied, applied[other] or false, "version " .. other) end
    t.unharmed(c.pid)
  end
end
-- A version that returns comes on top.
for _, number in ipairs {5, 1, 3} do
  t.state(ulp.trigger(p, patches[number]), "done")
  shows(number)
end
t.state(ulp.revert(p, {patches[3], patches[5]}), "done", "the top and the bottom in one step")
shows(1)
t.state(ulp.revert(p, patches[1]), "done")
shows(0)
