--- The table of hard targets. usage: ulpsh targets.lua [ROUNDS [NAME...]]
local t = require "ulp.scenario"
local ulp = require "ulp"

local kinds = dofile((arg[0]:match "^(.*)/" or ".") .. "/kinds.lua")
local rounds = tonumber(arg[1] or 20)
local wanted = {}
for index = 2, #arg do wanted[arg[index]] = true end

local fix = t.patch "dozens_13"
assert(os.execute(("chmod 755 %q && chmod 644 %q"):format(t.directory(), fix))) -- some targets are another user's

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2] or 0
end

--- What one apply came to: its state if it is done, else its code; milliseconds; and what the result says.
local function by_command(pid)
  local began = t.clock()
  local tool <close> = t.ulpsh {"trigger", "--json", "-p", tostring(pid), fix, timeout = 30}
  t.ok(tool:wait(), "the command ends")
  local took, said = (t.clock() - began) * 1000, tool:drain()
  return said:match '"code":"([^"]+)"' or said:match '"state":"([^"]+)"' or said, took,
    {pause_us = tonumber(said:match '"pause_us":([%d.]+)'), carrier_us = tonumber(said:match '"carrier_us":([%d.]+)')}
end

local function within_a_script(pid)
  local began = t.clock()
  local done, result = pcall(function()
    local p <close> = assert(ulp.attach(pid))
    return (ulp.trigger(p, fix))
  end)
  local took = (t.clock() - began) * 1000
  if not done and type(result) ~= "table" then error(result, 0) end
  return result.code or result.state, took, result
end

local function revert(pid)
  local p <close> = assert(ulp.attach(pid))
  t.state(ulp.revert(p, fix, {timeout = 20}), "done")
end

--- The apply of one round by one of the two ways; true if its outcome is as expected.
local function apply(kind, c, way, into)
  local outcome, took, result = way(c.pid)
  into.outcomes[outcome] = (into.outcomes[outcome] or 0) + 1
  into[way] = into[way] or {}
  table.insert(into[way], took)
  into.pause = math.max(into.pause, result.pause_us or 0)
  into.carrier = math.max(into.carrier, result.carrier_us or 0)
  local is_done = outcome == "done"
  if not kind.quiet then
    t.unharmed(c.pid)
    kind.shows(c, is_done and 13 or 12)
  end
  if is_done and not kind.changes then
    revert(c.pid)
    t.unharmed(c.pid)
    kind.shows(c, 12)
  end
  if kind.code then return outcome == kind.code end
  return is_done or kind.any or false
end

--- What any command takes beside the target.
local function floor()
  local began = t.clock()
  local command <close> = t.spawn {"/bin/true", timeout = 30}
  t.ok(command:wait(), "the command ends")
  return (t.clock() - began) * 1000
end

local function round(kind, into)
  local command = table.move(kind.command, 1, #kind.command, 1, {timeout = 30, pty = kind.pty})
  local c <close> = t.target(command)
  local beside <close> = kind.beside and kind.beside(c)
  if kind.before then kind.before(c) end
  if not kind.quiet then kind.shows(c, 12) end
  into[floor] = into[floor] or {}
  table.insert(into[floor], floor())
  if apply(kind, c, by_command, into) then into.first = into.first + 1 end
  if apply(kind, c, within_a_script, into) then into.second = into.second + 1 end
  if kind.after then kind.after(c, beside) end
  t.ok(c:alive(), "the target lives")
end

local function most_frequent(outcomes)
  local names = {}
  for name in pairs(outcomes) do names[#names + 1] = name end
  table.sort(names, function(left, right) return outcomes[left] > outcomes[right] end)
  return table.concat(names, ",")
end

local failed = false
local load = io.open "/proc/loadavg"
print(("%d rounds; load average %s"):format(rounds, load and load:read "a":match "%S+ %S+ %S+" or "unknown"))
if load then load:close() end
print(("%-16s %9s %9s  %-18s %8s %17s %17s %9s %10s %6s"):format("target", "command", "script", "outcome", "true ms",
  "command ms", "script ms", "pause us", "carrier us", "harmed"))
for _, kind in ipairs(kinds) do
  if not next(wanted) or wanted[kind.name] then
    local into = {first = 0, second = 0, pause = 0, carrier = 0, outcomes = {}, harmed = 0}
    for _ = 1, rounds do
      local well, why = pcall(round, kind, into)
      if not well then
        into.harmed = into.harmed + 1
        io.stderr:write(kind.name, ": ", tostring(why), "\n")
      end
    end
    local function times(way)
      local middle = median(into[way] or {})
      return ("%8.1f %8.1f"):format(middle, (into[way] or {})[#(into[way] or {})] or 0)
    end
    failed = failed or into.first < rounds or into.second < rounds or into.harmed > 0
    print(("%-16s %4d/%-4d %4d/%-4d  %-18s %8.1f %17s %17s %9.0f %10.0f %6d"):format(kind.name, into.first, rounds, into.second,
      rounds, most_frequent(into.outcomes), median(into[floor] or {}), times(by_command), times(within_a_script), into.pause,
      into.carrier, into.harmed))
    io.stdout:flush()
  end
end
t.clean()
os.exit(failed and 1 or 0, true)
