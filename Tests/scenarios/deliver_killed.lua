-- timeout: 240
-- The tool kills itself at places of an apply that delivers in a memory file: whatever it leaves is gone after the next
-- command, the descriptor first of all.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"
local after = t.shared "killed"

local fix = t.patch "dozens_13"
local c <close> = t.target "numserv"
local function descriptors() return core.list_directory(("/proc/%d/fd"):format(c.pid)) end
local at_rest, known = descriptors(), {}
for _, number in ipairs(at_rest) do known[number] = true end

-- Memory files that are open in the target, and whether a program that it starts would have one of them, too.
local function memory_files()
  local count = 0
  for _, number in ipairs(descriptors()) do
    local info = io.open(("/proc/%d/fdinfo/%s"):format(c.pid, number))
    if not known[number] and info then
      local flags = tonumber(info:read "a":match "flags:%s*(%d+)", 8)
      t.ok(flags & 0x80000 ~= 0, "it is closed on exec")
      count = count + 1
    end
    if info then info:close() end
  end
  return count
end

local function apply(place)
  local tool <close> = t.ulpsh {
    "-e", ("print(ulp.trigger(ulp.attach(%d), %q, {deliver = 'memfd'}).state)"):format(c.pid, fix),
    env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20,
  }
  local exit = t.ok(tool:wait(), "the tool ends")
  if exit.code == 0 then return true end
  t.eq(exit, {signal = 9}, "the tool was killed by nothing but its own hand:\n" .. tool.transcript)
  return false
end

local left, recovered = 0, 0
-- What the next command finds: a change, or every other time an explicit recovery before it.
local function clean(place)
  -- The carrier of a dead tool may still be on its way.
  local open = memory_files()
  t.ok(open <= 1, ("place %d: %d memory files"):format(place, open))
  if open == 1 then
    left = left + 1
    if left % 2 == 0 then
      local p <close> = assert(ulp.attach(c.pid))
      local outcome
      for _ = 1, 100 do
        local done, found = pcall(function() return assert(p:runtime()):recover() end)
        if done then outcome = found break end
        -- The carrier of the dead tool has not come home yet.
        t.eq(found.code, "call.busy")
        t.sleep(0.02)
      end
      t.ok(outcome, "recovery comes to its end")
      t.ok(outcome.action ~= "none", "recovery says that it did something")
      t.eq(descriptors(), at_rest, ("place %d: recovered"):format(place))
      t.eq(assert(p:runtime()):recover().action, "none")
      recovered = recovered + 1
    end
  end
  after(c, fix, "place " .. place)
  t.eq(descriptors(), at_rest, ("place %d: descriptors"):format(place))
end

local low, high = 0, 64
while not apply(high) do
  clean(high)
  low, high = high, 2 * high
  t.ok(high < 1000000, "an apply comes to an end")
end
clean(high)
while high - low > 1 do
  local middle = (low + high) // 2
  if apply(middle) then high = middle else low = middle end
  clean(middle)
end
local places = tonumber(os.getenv "ULPSH_SWEEP" or "60")
local step = math.max(1, low // places)
for place = 1, low, step do
  apply(place)
  clean(place)
end
print(("%d places, %d times a memory file was left, %d times recovered by name"):format(low, left, recovered))
t.ok(left > 0 and recovered > 0, "some tool died with the memory file open")
for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
  t.ok(not line:find "memfd:ulpsh", "nothing of it is mapped at the end")
end
