-- timeout: 240
-- Every state in which a tool can die is found and told by name, by `ulpsh recover` and by the next change alike, and
-- what is done about it is right: undone before the commit, finished after it; of an apply, a revert and a replacement.
local t = require "ulp.scenario"
local ulp = require "ulp"

local one, two = t.patch "version_1", t.patch "version_2"
local c <close> = t.target {"endurer", "1", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())

local function version()
  c:send "now\n"
  return c:expect("now %d%d(%d)%.\n", {pattern = true})
end

-- What each begins with, what the tool does, and what the next change does in `ulp.NAME(p, ...)`.
local changes = {
  apply = {before = "0", after = "1", call = "trigger(p, ONE)"},
  revert = {before = "1", after = "0", call = "revert(p, ONE)"},
  replace = {before = "1", after = "2", call = 'replace(p, "libversion.so.0", TWO)'},
}

local function begin(change)
  if runtime:state() ~= "idle" then runtime:recover() end
  local wanted = change.before == "0" and {} or {one}
  for _, patch in ipairs(ulp.patches(p)) do
    if patch.applied then ulp.revert(p, patch.id) end
  end
  if wanted[1] then t.state(ulp.trigger(p, wanted), "done") end
  t.eq(version(), change.before)
end

local function program(change)
  return ("ONE, TWO, p = %q, %q, ulp.attach(%d) return ulp.%s"):format(one, two, c.pid, change.call)
end

--- Whether the tool lived to the end.
local function survives(change, place)
  begin(change)
  local tool <close> = t.ulpsh {"-e", program(change), env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20}
  local exit = t.ok(tool:wait(), "the tool ends")
  if exit.code == 0 then return true end
  t.eq(exit, {signal = 9}, "the tool was killed by nothing but its own hand:\n" .. tool.transcript)
  return false
end

local is_committed = {committed = true, settling = true}

--- The state is told by what recovers, and the right version is served.
local function check(change, state, by_command)
  local before = version()
  t.eq(before, is_committed[state] and change.after or change.before, state .. ": what is served before recovery")
  local recovered
  if by_command then
    local tool <close> = t.ulpsh {"recover", tostring(c.pid), timeout = 20}
    local done = is_committed[state] and "come into force and was finished" or "not come into force and was undone"
    local said = ("recovered: an operation of ulpsh %%(process %%d+%%) was found %s; it had %s"):format(state, done)
    tool:expect(said, {pattern = true})
    tool:expect_exit(0)
    t.eq(version(), before, state .. ": recovery changes nothing that calls reach")
  else
    local text = program(change):gsub("return (.*)$", "return require 'ulp.render.json'.line('result', %1)")
    local tool <close> = t.ulpsh {"-e", "print((function() " .. text .. " end)())", timeout = 20}
    tool:expect '"recovered":{'
    recovered = tool:expect('"state":"(%a+)"', {pattern = true})
    tool:expect_exit(0)
    t.ok(tool.transcript:find(('"state":"%s"'):format(state), 1, true), "told as " .. state .. ", not " .. recovered)
    t.eq(version(), change.after, state .. ": the next change works")
  end
  t.eq(runtime:state(), "idle", "nothing stays pending")
  t.unharmed(c.pid)
end

--- The state once it does not change any more: the carrier of a dead tool may still be on its way.
local function at_rest()
  local state, since = runtime:state(), t.clock()
  return t.wait_until(function()
    local now, is_asleep = runtime:state(), t.states(c.pid) == "S"
    if now ~= state or not is_asleep then state, since = now, t.clock() end
    return t.clock() >= since + 0.03 and state
  end)
end

for _, name in ipairs {"apply", "revert", "replace"} do
  local change, seen = changes[name], {}
  local place = 1
  while not survives(change, place) do
    t.unharmed(c.pid)
    local state = at_rest()
    if state ~= "idle" and state ~= "leftover" then
      seen[state] = (seen[state] or 0) + 1
      check(change, state, seen[state] % 2 == 1)
    end
    place = place + 1
    t.ok(place < 1000, name .. " comes to an end")
  end
  for _, state in ipairs {"staged", "committed", "settling"} do t.ok(seen[state], name .. ": a tool died in state " .. state) end
  local counts = {}
  for state, count in pairs(seen) do counts[#counts + 1] = ("%s %d"):format(state, count) end
  table.sort(counts)
  print(name .. ": " .. table.concat(counts, ", "))
end

-- Staging: the tool is gone, its container is still being loaded. That is told; then it is staged, and undone.
begin(changes.apply)
local numbers <close> = t.target "numserv"
local q <close> = assert(ulp.attach(numbers.pid))
local slow = t.patch "dozens_late"
local tool <close> = t.ulpsh {"-e", ("ulp.trigger(ulp.attach(%d), %q)"):format(numbers.pid, slow), timeout = 20}
t.wait_until(function() return assert(q:runtime()):state() == "staging" end)
t.eq(assert(q:runtime()):state(), "staging")
tool:signal "KILL"
t.eq(t.ok(tool:wait(), "it ends").signal, 9)
t.raises("call.busy", function() return q:runtime():recover {timeout = 0.001} end)
local outcome = q:runtime():recover()
t.eq({outcome.state, outcome.action, #outcome.unloaded}, {"staged", "undone", 1}, "found when the load had come to its end")
t.ok(outcome.what:find "undone", "what was done is told")
t.eq(q:runtime():recover().state, "idle", "nothing stays pending")
numbers:ask("dozen", "12\n", {reject = "13"})
t.unharmed(numbers.pid)
