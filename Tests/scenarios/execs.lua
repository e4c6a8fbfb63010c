-- timeout: 90
-- A target that replaces itself all the time, beside threads that only its tracer can see off: whatever a command meets, it
-- ends in time and the program goes on. (A tracer that waits for a thread while the kernel waits for the tracer blocks both.)
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"execs", timeout = 20}
local fix = t.patch "dozens_13"
local states = {}

for _ = 1, 150 do
  local began = t.clock()
  local done, result = pcall(function()
    local p <close> = assert(ulp.attach(c.pid))
    return ulp.trigger(p, fix, {timeout = 0.05})
  end)
  local state = done and result.state or result.code
  states[state] = (states[state] or 0) + 1
  t.ok(t.clock() - began < 3, "the command ends in time")
  t.ok(state, "an answer with a code: " .. tostring(result))
end
c:send "tell\n"
c:expect("round=%d+ dozen=1[23]%.\n", {pattern = true})
for state, count in pairs(states) do print(count, state) end
