--- How long a process stands for one apply: by its threads, by what the container brings, and by the number of functions.
---
--- Containers, libraries and programs are made on demand from the sources below, among the targets.
local ulp = require "ulp"
local core = require "ulp.core"
local t = require "ulp.scenario"

local M = {}

local dozens = t.path "libdozens.so.0"
local function replaces_dozen(name, code)
  code = "int dozen_13(void) { return 13; }\n" .. code
  return t.cc {as = name .. ".so", target = dozens, units = {dozen = "dozen_13"}, code = code}
end

--- What a world-stop must not depend on: both only concern the borrowed thread.
local containers = {
  {"a light patch", function() return t.patch "dozens_13" end},
  {"2.6 MB, 65536 relocations", function()
    return replaces_dozen("heavy", [[
      static int cell;
      int *pointers[65536] = {[0 ... 65535] = &cell};
      const unsigned char filling[520000] = {1};]])
  end},
  {"a constructor of 50 ms", function()
    return replaces_dozen("slow", [[
      #include <unistd.h>
      __attribute__((constructor)) static void begin(void) { usleep(50000); }]])
  end},
}

local function milliseconds_since(began) return (core.clock() - began) * 1000 end

--- What the results of apply and revert tell, in milliseconds.
local function measure(p, fix, rounds)
  local pause, settle, carrier, whole = {}, {}, {}, {}
  for round = 1, rounds do
    local began = core.clock()
    local result = ulp.trigger(p, fix, {timeout = 20})
    whole[round] = milliseconds_since(began)
    assert(result.state == "done", result.code)
    pause[round], settle[round] = result.pause_us / 1000, result.settle_pause_us / 1000
    carrier[round] = result.carrier_us / 1000
    -- A container that stays loaded would be used again, and its loading not be measured.
    assert(ulp.revert(p, fix, {timeout = 20, unload = true}).state == "done")
  end
  return {pause = pause, settle = settle, carrier = carrier, whole = whole}
end

--- For each thread count and container; `spread(name, values, limit)` prints median and longest.
function M.busy_threads(load_path, rounds, spread)
  local limits = {[1] = 0.1, [64] = 2.5, [512] = 25}
  for _, threads in ipairs {1, 64, 512} do
    for _, container in ipairs(containers) do
      local target <close> = t.spawn {load_path, "busy", tostring(threads), preload = true, timeout = 60}
      target:expect "ready\n"
      local p <close> = assert(ulp.attach(target.pid))
      local found = measure(p, container[2](), math.max(5, rounds // (threads == 512 and 4 or 2)))
      local name = ("%d busy, %s: "):format(threads, container[1])
      spread(name .. "switch", found.pause, limits[threads])
      spread(name .. "settle", found.settle, limits[threads])
      spread(name .. "carrier", found.carrier, container == containers[1] and 10 or nil)
      spread(name .. "whole", found.whole, container == containers[1] and 250 or nil)
    end
  end
end

local most = 5000

local function lines(pattern)
  local made = {}
  for index = 1, most do made[index] = pattern:gsub("#", tostring(index)) end
  return table.concat(made, "\n")
end

--- Patches of 1000 and of 5000 functions of one library, in a process that sleeps.
function M.many_functions(rounds, spread)
  local library = t.cc {kind = "library", as = "libthousands", flags = {"-O2"}, code = lines "int f#(int a) { return a + #; }"}
  local code = lines "int g#(int a) { return a - #; }"
  local program = t.cc {kind = "program", as = "thousands", libraries = {library}, code = [[
    #include <stdio.h>
    int f1(int), f1000(int), f5000(int);
    int main(void) {
      puts("ready");
      fflush(stdout);
      while (getchar() != EOF) { printf("%d %d %d.\n", f1(0), f1000(0), f5000(0)); fflush(stdout); }
      return 0;
    }]]}
  local target <close> = t.spawn {program, preload = true, timeout = 60}
  target:expect "ready\n"
  local p <close> = assert(ulp.attach(target.pid))
  local medians = {}
  for _, part in ipairs {{1000, 1, "-1 -1000 5000.\n"}, {5000, 5, "-1 -1000 -5000.\n"}} do
    local count, limit, answer = table.unpack(part)
    local units = {}
    for index = 1, count do units["f" .. index] = "g" .. index end
    local fix = t.cc {as = ("thousands_%d.so"):format(count), target = library, flags = {"-O1"}, units = units, code = code}
    assert(ulp.trigger(p, fix, {timeout = 20}).state == "done")
    target:send "\n"
    target:expect(answer)
    assert(ulp.revert(p, fix, {timeout = 20}).state == "done")
    local found = measure(p, fix, math.max(5, rounds // 4))
    medians[count] = spread(count .. " functions: switch", found.pause, limit)
    spread(count .. " functions: settle", found.settle, limit)
    spread(count .. " functions: carrier", found.carrier)
    spread(count .. " functions: whole", found.whole)
  end
  return medians[5000] / medians[1000]
end

return M
