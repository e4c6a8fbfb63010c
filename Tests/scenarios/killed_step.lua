-- timeout: 240
-- slow
-- The tool kills itself at fifty places of one apply, from its first access to the target to its last.
local t = require "ulp.scenario"
local after = t.shared "killed"

local fix = t.patch "dozens_13"
local c <close> = t.target "numserv"

--- Applies with a tool that dies at its access number `place`; true if it lived to the end.
local function apply(place)
  local tool <close> = t.ulpsh {
    "-e", ("print(ulp.trigger(ulp.attach(%d), %q).state)"):format(c.pid, fix),
    env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20,
  }
  local exit = tool:wait()
  t.ok(exit, "the tool ends")
  if exit.code == 0 then return true end
  t.eq(exit, {signal = 9}, "the tool was killed by nothing but its own hand:\n" .. tool.transcript)
  return false
end

-- How many accesses an apply makes: the tool that is to die after the last one lives.
local low, high = 0, 64
while not apply(high) do
  after(c, fix, "place " .. high)
  low, high = high, 2 * high
  t.ok(high < 1000000, "an apply comes to an end")
end
after(c, fix, "whole apply")
while high - low > 1 do
  local middle = (low + high) // 2
  if apply(middle) then high = middle else low = middle end
  after(c, fix, "place " .. middle)
end
local total = low
t.ok(total >= 10, ("an apply makes a number of accesses: %d"):format(total))

-- The number differs by a few from run to run, as a carrier may have to be looked for twice: the last places may be missed.
local places, old, new = 50, 0, 0
for index = 1, places do
  local place = 1 + (index - 1) * (total - 1) // (places - 1)
  local lived = apply(place)
  local number = after(c, fix, ("place %d of %d"):format(place, total))
  if not lived and number == "12" then old = old + 1 elseif not lived then new = new + 1 end
end
print(("%d places of %d: %d times old, %d times new"):format(places, total, old, new))
t.ok(old + new >= places - 5, "it died at nearly every place")
t.ok(old > 0, "some places lie before the commit")
