--- The figures of the design's chapter 9 that this release promises: medians and ratios from one run on one machine, the
--- compared programs taking turns. usage: ulpsh bench.lua DIRECTORY ROUNDS, with the built targets in ULPSH_TARGETS
local ulp = require "ulp"
local core = require "ulp.core"
local t = require "ulp.scenario"

local directory, rounds = arg[1], tonumber(arg[2])
local broken = 0

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

--- Prints a figure beside its limit.
local function figure(name, value, unit, limit)
  local verdict = ""
  if limit then
    verdict = value <= limit and ("  (limit %g)"):format(limit) or ("  MISSED (limit %g)"):format(limit)
    if value > limit then broken = broken + 1 end
  end
  print(("%-58s %9.3f %-4s%s"):format(name, value, unit, verdict))
end

--- Milliseconds from the start of a program to its end.
local function run(command)
  local began = core.clock()
  local child <close> = t.spawn(command)
  repeat local kind = child.raw:wait(0.2) until kind
  return (core.clock() - began) * 1000, child
end

--- Medians of several programs that take turns.
local function compare(commands, between)
  local times = {}
  for index in ipairs(commands) do times[index] = {} end
  for round = 1, rounds + 3 do
    for index, command in ipairs(commands) do
      local took = run(command)
      if round > 3 then table.insert(times[index], took) end
      if between then between() end
    end
  end
  local medians = {}
  for index, values in ipairs(times) do medians[index] = median(values) end
  return medians
end

local tool = core.executable_path

-- Start-up
local start = compare {{"lua5.4", "-e", ""}, {tool, "-e", ""}}
figure("lua5.4 -e ''", start[1], "ms")
figure("ulpsh -e ''", start[2], "ms")
figure("ratio", start[2] / start[1], "x", 2.5)

local peaks, tell_peak = {}, "print(io.open('/proc/self/status'):read('a'):match 'VmHWM[^\\n]*')"
for _ = 1, 5 do
  local child <close> = t.spawn {tool, "-e", tell_peak}
  peaks[#peaks + 1] = tonumber((child:expect("VmHWM:%s+(%d+) kB", {pattern = true}))) / 1024
end
figure("resident memory of ulpsh -e ''", median(peaks), "MiB", 6)

-- One patch
local fix = t.patch "dozens_13"
local idle <close> = t.target {"idle", "read"}
local process <close> = assert(ulp.attach(idle.pid))
local trigger = compare({{"lua5.4", "-e", ""}, {tool, "trigger", "-p", tostring(idle.pid), fix}}, function()
  if ulp.check(process, fix).state == "done" then ulp.revert(process, fix) end
end)
figure("ulpsh trigger on one idle process", trigger[2], "ms")
figure("ratio to lua5.4 -e ''", trigger[2] / trigger[1], "x", 4)

--- Medians of what the results of apply and revert tell.
local function pauses(target, patch)
  local p <close> = assert(ulp.attach(target.pid))
  local pause, carrier = {}, {}
  for _ = 1, rounds do
    local result = ulp.trigger(p, patch)
    assert(result.state == "done", result.code)
    pause[#pause + 1] = result.pause_us
    carrier[#carrier + 1] = result.carrier_us
    assert(ulp.revert(p, patch).state == "done")
  end
  return median(pause) / 1000, median(carrier) / 1000
end

do
  local target <close> = t.target "numserv"
  local pause, carrier = pauses(target, fix)
  figure("world-stop, 1 thread", pause, "ms", 0.1)
  figure("carrier, 1 thread", carrier, "ms")
end
do
  local target <close> = t.target {"threads", "8"}
  local pause, carrier = pauses(target, t.patch "mix_odd")
  figure("world-stop, 8 busy threads", pause, "ms", 0.5)
  figure("carrier, 8 busy threads", carrier, "ms")
end

-- A process that is not being patched. A runtime that interposes nothing makes no difference; what is left is noise, which
-- only ever adds: so the best of the rounds are compared here.
for _, threads in ipairs {1, 2, 4} do
  local malloc, call = {{}, {}}, {{}, {}}
  for _ = 1, math.max(5, rounds // 5) do
    for index, preload in ipairs {false, true} do
      local child <close> = t.spawn {directory .. "/preload", tostring(threads), preload = preload, timeout = 60}
      local m, n = child:expect("malloc=([%d.]+) call=([%d.]+)", {pattern = true})
      table.insert(malloc[index], tonumber(m))
      table.insert(call[index], tonumber(n))
    end
  end
  local function ratio(pair) return math.min(table.unpack(pair[2])) / math.min(table.unpack(pair[1])) end
  figure(("malloc+free, %d threads, preloaded to not"):format(threads), ratio(malloc), "x", 1.1)
  if threads == 1 then figure("call into a library, preloaded to not", ratio(call), "x", 1.1) end
end

t.clean()
print(broken == 0 and "every limit is kept" or broken .. " limits are missed")
os.exit(broken == 0 and 0 or 1, true)
