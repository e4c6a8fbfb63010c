-- timeout: 120
-- Functions × versions: five containers, each of one or two of three functions, applied and reverted in every order that a
-- walk of eighty steps meets; each function always is at the newest version that is left.
local t = require "ulp.scenario"
local ulp = require "ulp"

local names = {"first", "second", "third"}
local library = t.cc {kind = "library", as = "libmatrix", code = [[
  int first(void) { return 100; } int second(void) { return 200; } int third(void) { return 300; }
]]}
local versions = {{1}, {1, 2}, {2, 3}, {1, 3}, {2}}
local patches = {}
for number, functions in ipairs(versions) do
  local code, units = {}, {}
  for _, index in ipairs(functions) do
    code[#code + 1] = ("int %s_%d(void) { return %d; }"):format(names[index], number, index * 100 + number)
    units[names[index]] = names[index] .. "_" .. number
  end
  patches[number] = t.cc {as = ("version_%d.so"):format(number), target = library, code = table.concat(code, "\n"), units = units}
end

local c <close> = t.target {"caller", library, timeout = 60}
local p <close> = assert(ulp.attach(c.pid))
local stack = {} -- numbers in the order in which they were applied

local function is_applied(number)
  for place, other in ipairs(stack) do if other == number then return place end end
end

local function shows()
  for index, name in ipairs(names) do
    local expected = index * 100
    for _, number in ipairs(stack) do
      for _, other in ipairs(versions[number]) do if other == index then expected = index * 100 + number end end
    end
    local others = {}
    for number = 0, #versions do
      if index * 100 + number ~= expected then others[#others + 1] = ("%s=%d\n"):format(name, index * 100 + number) end
    end
    c:ask(name, ("%s=%d\n"):format(name, expected), {reject = others})
  end
  for number, patch in ipairs(patches) do
    t.eq(ulp.check(p, patch).applied, is_applied(number) ~= nil, "check of version " .. number)
  end
  t.eq(#ulp.patches(p), #stack, "patches in force")
end

shows()
math.randomseed(20)
for step = 1, 80 do
  local number = math.random(#versions)
  local where = ("step %d, version %d after %s"):format(step, number, table.concat(stack, ","))
  local place = is_applied(number)
  if place then
    t.state(ulp.revert(p, patches[number]), "done", where)
    table.remove(stack, place)
  else
    t.state(ulp.trigger(p, patches[number]), "done", where)
    stack[#stack + 1] = number
  end
  shows()
end
-- The rest in one step, whatever it is, and everything again in one step.
t.state(ulp.revert_all(p, library:match "[^/]*$"), #stack > 0 and "done" or "already")
stack = {}
shows()
t.eq(#assert(p:runtime()):patches(), 0, "nothing is remembered")
for number, patch in ipairs(patches) do
  t.state(ulp.trigger(p, patch), "done")
  stack[#stack + 1] = number
end
shows()
-- From the middle, several at once.
t.state(ulp.revert(p, {patches[2], patches[4]}), "done")
stack = {1, 3, 5}
shows()
t.state(ulp.revert(p, {patches[1], patches[3], patches[5]}), "done")
stack = {}
shows()
t.unharmed(c.pid)
