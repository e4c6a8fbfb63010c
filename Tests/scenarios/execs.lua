-- timeout: 180
-- A target that replaces itself all the time, beside threads that only its tracer can see off: whatever a command meets, it
-- ends in time and says so, and the program goes on; and one that is only being started is waited for. (A tracer that waits for
-- a thread while the kernel waits for the tracer blocks both.)
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"execs", timeout = 20}
local fix = t.patch "dozens_13"
local states, honest = {}, {done = true, already = true, ["process.exec"] = true}
for _, code in ipairs {"process.unstoppable", "carrier.none", "patch.blocked", "process.starting"} do honest[code] = true end
-- On a busy machine the short time is over within a call, or before what a call left is seen to.
for _, code in ipairs {"call.timeout", "operation.busy"} do honest[code] = true end

-- As often as it takes until one has met another program: on a busy machine the target is late to begin the next.
local rounds, deadline = 0, t.clock() + 60
repeat
  rounds = rounds + 1
  local began = t.clock()
  local done, result = pcall(function()
    local p <close> = assert(ulp.attach(c.pid))
    return ulp.trigger(p, fix, {timeout = 0.05})
  end)
  local state = done and result.state or result.code
  states[state] = (states[state] or 0) + 1
  t.ok(t.clock() - began < 30, "the command ends in time")
  -- Neither "not permitted", nor "statically linked", nor any other thing that a process looks like in between. The thread that
  -- executes cannot be stopped, so a short time may be over first.
  t.ok(honest[state], "what happened: " .. tostring(result))
  t.sleep(0.001 * (rounds % 5)) -- to meet it at every moment, and as we come before it where there is one processor
until rounds >= 150 and states["process.exec"] or t.clock() > deadline
c:send "tell\n"
c:expect("round=%d+ dozen=1[23]%.\n", {pattern = true})
for state, count in pairs(states) do print(count, state) end

t.eq(states["process.exec"] and true, true, "some met another program")

-- Started a moment ago: the first command meets a loader that has not begun, or is at work.
for _ = 1, 40 do
  local new <close> = t.spawn {t.path "numserv", preload = true, timeout = 20}
  local p <close> = assert(ulp.attach(new.pid))
  t.state(ulp.trigger(p, fix), "done", "right after the start")
  new:ask("dozen", "13\n", {reject = "12\n"})
  t.unharmed(new.pid)
end

-- Without the runtime that is told as what it is, and does not wait for a loader that has nothing to do any more.
do
  local new <close> = t.spawn {t.path "numserv", timeout = 20}
  t.refused("runtime.missing", function() return ulp.trigger(assert(ulp.attach(new.pid)), fix) end)
end

-- A handle of before knows.
do
  local other <close> = t.spawn {"/bin/sh", "-c", "read line; exec cat", timeout = 20}
  local p <close> = assert(ulp.attach(other.pid))
  local place = p.maps[1].first
  t.ok(p.alive and not p.replaced and #p:read(place, 4) == 4, "as it was")
  other:send "go\n"
  other:ask("echo", "echo\n")
  t.ok(p.alive and p.replaced, "another program")
  t.refused("process.exec", function() return assert(p:read(place, 4)) end)
  t.refused("process.exec", function() return ulp.trigger(p, fix) end)
end
