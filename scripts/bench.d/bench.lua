--- Speed and memory: medians and ratios from one run on one machine, the compared programs taking turns.
---
--- usage: ulpsh bench.lua LOAD ROUNDS [--json], with the built targets in ULPSH_TARGETS. LOAD is load.c's program.
local ulp = require "ulp"
local core = require "ulp.core"
local t = require "ulp.scenario"

local load_path, rounds, as_json = arg[1], tonumber(arg[2]), arg[3] == "--json"
local shapes = dofile((arg[0]:gsub("[^/]*$", "stops.lua")))
local tool = core.executable_path
local missed = 0

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

-- Output --------------------------------------------------------------------------------------------------------------

local function section(title, first, second, third)
  if as_json then return end
  print(("\n%-62s %10s %10s %7s  %s"):format(title, first or "ulpsh", second or "beside", third or "ratio", "limit"))
end

local function number(value, unit) return value and ("%.4g %s"):format(value, unit) or "" end

--- One line: a figure, what it is compared with, and their ratio. The limit is one of the ratio if there is one.
local function row(name, unit, value, beside, limit)
  local ratio = beside and value / beside
  local over = limit and (ratio or value) > limit
  if over then missed = missed + 1 end
  if as_json then
    print(require "ulp.render.json".line("figure", {
      name = name, unit = unit, value = value, beside = beside, ratio = ratio, limit = limit, missed = over or false,
    }))
    return
  end
  print(("  %-60s %10s %10s %7s  %s"):format(name, number(value, unit), number(beside, unit),
    ratio and ("%.2f"):format(ratio) or "", limit and ("%g%s"):format(limit, over and " MISSED" or "") or ""))
end

--- One line: the median and the longest of some values in milliseconds. The limit is one of the median. Returns the median.
local function spread(name, values, limit)
  local middle = median(values) -- sorts
  local longest = values[#values]
  local over = limit and middle > limit
  if over then missed = missed + 1 end
  if as_json then
    print(require "ulp.render.json".line("figure", {
      name = name, unit = "ms", value = middle, longest = longest, rounds = #values, limit = limit, missed = over or false,
    }))
  else
    print(("  %-60s %10s %10s %7s  %s"):format(name, number(middle, "ms"), number(longest, "ms"), "n=" .. #values,
      limit and ("%g%s"):format(limit, over and " MISSED" or "") or ""))
  end
  return middle
end

-- Programs from start to end ------------------------------------------------------------------------------------------

--- Milliseconds from the start of a program to its end.
local function run(command)
  local began = core.clock()
  local child <close> = t.spawn(command)
  repeat local kind = child.raw:wait(0.2) until kind
  return (core.clock() - began) * 1000
end

--- Medians of several programs that take turns; `after(index)` clears up behind each run.
local function compare(commands, after)
  local times = {}
  for index in ipairs(commands) do times[index] = {} end
  for round = 1, rounds + 3 do
    for index, command in ipairs(commands) do
      local took = run(command)
      if round > 3 then table.insert(times[index], took) end -- the first runs fill caches
      if after then after(index) end
    end
  end
  local medians = {}
  for index, values in ipairs(times) do medians[index] = median(values) end
  return table.unpack(medians)
end

local function own_peak(command)
  local peaks = {}
  for _ = 1, 5 do
    local child <close> = t.spawn(command)
    peaks[#peaks + 1] = tonumber((child:expect("VmHWM:%s+(%d+) kB", {pattern = true}))) / 1024
  end
  return median(peaks)
end

local fix = t.patch "dozens_13"

local function start_up()
  section "Start, beside lua5.4 -e ''"
  local lua, ours = compare {{"lua5.4", "-e", ""}, {tool, "-e", ""}}
  row("ulpsh -e ''", "ms", ours, lua, 2.5)
  local tell = "print(io.open('/proc/self/status'):read('a'):match 'VmHWM[^\\n]*')"
  row("memory of ulpsh -e ''", "MiB", own_peak {tool, "-e", tell}, own_peak {"lua5.4", "-e", tell})
  row("memory of ulpsh -e '', alone", "MiB", own_peak {tool, "-e", tell}, nil, 6)
end

local function commands()
  section "Whole commands on one idle process, beside lua5.4 -e ''"
  local target <close> = t.target {"idle", "read"}
  local p <close> = assert(ulp.attach(target.pid))
  local pid = tostring(target.pid)
  local code = ("ulp.trigger(%d, %q)"):format(target.pid, fix)
  local lua, command, one_liner = compare({{"lua5.4", "-e", ""}, {tool, "trigger", "-p", pid, fix}, {tool, "-e", code}},
    function(index)
      if index == 1 then return end
      assert(ulp.check(p, fix).applied, "the command did not patch")
      ulp.revert(p, fix)
    end)
  row("ulpsh trigger -p PID fix.so", "ms", command, lua, 4)
  row("ulpsh -e 'ulp.trigger(PID, \"fix.so\")'", "ms", one_liner, lua, 4)
  ulp.trigger(p, fix)
  local check, again, patches
  lua, check, again, patches = compare {
    {"lua5.4", "-e", ""}, {tool, "check", "-p", pid, fix}, {tool, "trigger", "-p", pid, fix}, {tool, "patches", "-p", pid},
  }
  row("ulpsh check -p PID fix.so", "ms", check, lua)
  row("ulpsh trigger -p PID fix.so, applied already", "ms", again, lua)
  row("ulpsh patches -p PID", "ms", patches, lua)
  local inside = {}
  for _ = 1, rounds do
    local began = core.clock()
    assert(ulp.check(p, fix).applied)
    inside[#inside + 1] = (core.clock() - began) * 1000
  end
  row("ulp.check(p, \"fix.so\") in a script", "ms", median(inside))
end

-- Stops ---------------------------------------------------------------------------------------------------------------

--- Medians of what the results of apply and revert tell, in milliseconds.
local function stops(kind, threads)
  local target <close> = t.spawn {load_path, kind, tostring(threads), preload = true}
  target:expect "ready\n"
  local p <close> = assert(ulp.attach(target.pid))
  local pause, carrier, whole = {}, {}, {}
  for _ = 1, math.max(5, threads > 8 and rounds // 2 or rounds) do
    local began = core.clock()
    local result = ulp.trigger(p, fix, {timeout = 20})
    whole[#whole + 1] = (core.clock() - began) * 1000
    assert(result.state == "done", result.code)
    pause[#pause + 1], carrier[#carrier + 1] = result.pause_us / 1000, result.carrier_us / 1000
    assert(ulp.revert(p, fix, {timeout = 20}).state == "done")
  end
  return median(pause), median(carrier), median(whole)
end

local function world_stops()
  section "One apply, from within a script"
  local limits = {[1] = 0.1, [8] = 0.5, [64] = 2.5}
  for _, kind in ipairs {"busy", "idle"} do
    for _, threads in ipairs {1, 8, 64} do
      local pause, carrier, whole = stops(kind, threads)
      local name = ("%d %s thread%s: "):format(threads, kind, threads > 1 and "s" or "")
      row(name .. "world-stop (pause_us)", "ms", pause, nil, limits[threads])
      row(name .. "carrier (carrier_us)", "ms", carrier)
      row(name .. "the whole apply", "ms", whole)
    end
  end
end

local function busy_threads()
  section("One apply among busy threads, from within a script", "median", "longest", "rounds")
  shapes.busy_threads(load_path, rounds, spread)
end

local function many_functions()
  section("One apply of many functions, from within a script", "median", "longest", "rounds")
  local growth = shapes.many_functions(rounds, spread)
  row("the switch of 5000 functions beside that of 1000, times", "", growth, nil, 6)
end

-- Cost to the program -------------------------------------------------------------------------------------------------

--- The lowest figures of a mode of `load` without and with the runtime, taking turns: noise only ever adds.
local function with_and_without(words, pattern, times)
  local best = {}
  for _ = 1, times do
    for index, preload in ipairs {true, false} do
      local child <close> = t.spawn {load_path, words[1], words[2], preload = preload, timeout = 60}
      local value = tonumber((child:expect(pattern, {pattern = true})))
      best[index] = math.min(best[index] or value, value)
    end
  end
  return best[1], best[2]
end

local function neighbour()
  section "A preloaded process that is not patched, beside the same without the runtime"
  for _, threads in ipairs {1, 2, 4} do
    local ours, beside = with_and_without({"alloc", tostring(threads)}, "([%d.]+)\n", 5)
    row(("malloc and free, %d thread%s"):format(threads, threads > 1 and "s" or ""), "ns", ours, beside, 1.1)
  end
  local with, without = compare {{load_path, "nothing", preload = true}, {load_path, "nothing"}}
  row("start and end of a small program", "ms", with, without)
  row("added by the preload", "ms", with - without, nil, 0.08)
  local function memory(pattern) return with_and_without({"memory"}, pattern, 5) end
  local ours, beside = memory "(%d+) %d+\n"
  row("memory of a small program (RSS)", "KiB", ours, beside)
  row("added by the preload", "KiB", ours - beside, nil, 60)
  ours, beside = memory "%d+ (%d+)\n"
  row("its share of memory (PSS)", "KiB", ours, beside)
end

local function calls()
  section "A call into a prepared library, beside the same without the runtime"
  local function start(preload)
    local child = t.spawn {load_path, "call", preload = preload, timeout = 60}
    child:expect "ready\n"
    return child
  end
  local plain <close> = start(false)
  local target <close> = start(true)
  local p <close> = assert(ulp.attach(target.pid))
  --- The lowest of some turns of both; `number` proves which version answered.
  local function measure(name, expected, limit)
    local best = {}
    for _ = 1, 6 do
      for index, child in ipairs {target, plain} do
        child:send "go\n"
        local ns, answer = child:expect("([%d.]+) (%d+)\n", {pattern = true})
        assert(tonumber(answer) == (index == 1 and expected or 12), "the wrong version answered")
        best[index] = math.min(best[index] or math.huge, tonumber(ns))
      end
    end
    row(name, "ns", best[1], best[2], limit)
  end
  measure("preloaded, not patched", 12, 1.1)
  ulp.trigger(p, fix, {settle = false})
  measure("patched, through the stub (before it is settled)", 13)
  ulp.revert(p, fix)
  ulp.trigger(p, fix)
  measure("patched, settled", 13)
  ulp.revert(p, fix)
  measure("reverted", 12)
end

-- Many processes ------------------------------------------------------------------------------------------------------

local function inventory()
  section "Inventory of 200 processes with the runtime"
  local fleet <close> = setmetatable({}, {__close = function(self)
    for _, child in ipairs(self) do child:close() end
  end})
  for index = 1, 200 do fleet[index] = t.spawn {load_path, "idle", preload = true} end
  for _, child in ipairs(fleet) do child:expect "ready\n" end
  local times, count = {}, 0
  for _ = 1, 5 do
    local began = core.clock()
    count = #ulp.patches()
    times[#times + 1] = (core.clock() - began) * 1000
  end
  assert(count >= 200, "processes are missing")
  row("ulp.patches() in a script", "ms", median(times), nil, 100)
  local command = {}
  for _ = 1, 5 do
    local began = core.clock()
    local child <close> = t.spawn {tool, "patches", "-p", "load", timeout = 30}
    repeat child:drain() local kind = child.raw:wait(0.002) until kind
    command[#command + 1] = (core.clock() - began) * 1000
  end
  row("ulpsh patches -p load", "ms", median(command))
end

--- How busy the machine is: with more runnable threads than processors, every stop waits for its turn.
local function load_average()
  local file = assert(io.open "/proc/loadavg")
  local load = tonumber((file:read "a":match "^%S+"))
  file:close()
  local _, processors = t.read_file "/proc/cpuinfo":gsub("%f[^\n\0]processor%s", "")
  return load, processors
end

do
  local load, processors = load_average()
  if as_json then
    print(require "ulp.render.json".line("machine", {load_average = load, processors = processors, rounds = rounds}))
  else
    print(("medians of %d rounds, the lowest of some where noise only adds; %d processors, load average %.1f before")
      :format(rounds, processors, load))
  end
end
start_up()
commands()
world_stops()
busy_threads()
many_functions()
neighbour()
calls()
inventory()
t.clean()
if not as_json then print(missed == 0 and "\nevery limit is kept" or ("\n%d limits are missed"):format(missed)) end
