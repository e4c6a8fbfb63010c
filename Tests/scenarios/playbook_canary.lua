-- timeout: 90
-- The canary playbook patches a fleet in waves, takes everything back when a process gets ill, dies or the operator says
-- so, and tells the truth about each.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"
local core = require "ulp.core"

local fix = t.patch "dozens_13"
local fleet = {}
for index = 1, 3 do fleet[index] = t.target {"numserv", timeout = 20} end

--- Starts the playbook on the fleet, quick but for what the arguments say.
local function start(...)
  local command = {"run", "canary", "--json", "--watch", "0.2", "--interval", "0.05", "--timeout", "20", timeout = 30}
  for _, c in ipairs(fleet) do table.move({"-p", tostring(c.pid)}, 1, 2, #command + 1, command) end
  return t.ulpsh(table.move({...}, 1, select("#", ...), #command + 1, command))
end

--- Waits for the playbook's end and returns the final state of each process, and the summary.
local function finish(tool, code)
  tool:expect_exit(code)
  local states, summary = {}, nil
  for line in tool:drain():gmatch "[^\n]+" do
    local entry = t.ok(json.decode(line), "a line of JSON: " .. line)
    t.eq(entry.schema, 1)
    if entry.type == "result" then states[#states + 1] = entry.state end
    if entry.type == "summary" then summary = entry end
  end
  t.eq(t.ok(summary, "there is a summary").status, code, "the summary's exit status")
  return states, summary
end

local function run(code, ...) return finish(start(...), code) end

local function serve(...)
  for index, dozen in ipairs {...} do
    fleet[index]:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
    t.unharmed(fleet[index].pid)
  end
end
local function revert_all() for _, c in ipairs(fleet) do t.state(ulp.revert(c.pid, fix), "done") end end

-- A plan changes nothing, to the byte.
local before = t.snapshot(fleet[1].pid)
t.eq(run(0, "--plan", fix), {"waiting", "waiting", "waiting"})
t.unchanged(fleet[1].pid, before)

-- Healthy, by every kind of look.
local file = t.write_file(t.directory() .. "/alive.lua", "return function(p) return p.alive end")
t.eq(run(0, "--waves", "1,2", "--health", "#p.threads == 1", "--health", file, "--command", 'test -d "/proc/$PID"',
  "--cpu", "300", fix), {"patched", "patched", "patched"})
serve(13, 13, 13)
t.eq(run(0, fix), {"already", "already", "already"})
serve(13, 13, 13)

-- What was in force before is not taken back with the rest.
t.state(ulp.revert(fleet[1].pid, fix), "done")
local says_12 = t.write_file(t.directory() .. "/says_12.lua", [[
return function(p)
  local dozen = p:call "dozen"
  return dozen == 12, "dozen says " .. dozen
end]])
t.eq(run(1, "--health", says_12, fix), {"reverted", "already", "already"})
serve(12, 13, 13)
t.state(ulp.trigger(fleet[1].pid, fix), "done")
revert_all()

-- The canary gets ill: it is healed, and the others never knew. In the last wave: all are healed.
local states, summary = run(1, "--health", says_12, fix)
t.eq(states, {"reverted", "waiting", "waiting"})
t.ok(summary.message:find("dozen says 13", 1, true), "the reason is told: " .. summary.message)
serve(12, 12, 12)
local third = ("p.pid ~= %d or p:call 'dozen' == 12"):format(fleet[3].pid)
t.eq(run(1, "--waves", "1,1", "--health", third, fix), {"reverted", "reverted", "reverted"})
serve(12, 12, 12)
t.eq(run(1, "--keep", "--waves", "1,1", "--health", third, fix), {"patched", "patched", "patched"})
serve(13, 13, 13)
revert_all()

-- Ill before the first patch, or not to be patched: nobody is touched.
before = t.snapshot(fleet[1].pid)
t.eq(run(1, "--command", "echo the probe says no >&2; exit 7", fix), {"refused", "refused", "refused"})
t.eq(run(1, t.patch "version_1"), {"refused", "refused", "refused"})
t.unchanged(fleet[1].pid, before)

--- Starts the playbook, and acts while it watches its first wave.
local function during_watch(code, act, ...)
  local tool <close> = start(...)
  tool:expect('"type":"watch"[^\n]*\n', {pattern = true})
  act(tool)
  return finish(tool, code)
end
local function kill_second() fleet[2]:kill() end
local function replace_second() fleet[2] = t.target {"numserv", timeout = 20} end

-- Ctrl-C while the canary is watched.
states = during_watch(130, function(tool)
  serve(13, 12, 12)
  tool:signal "INT"
end, "--watch", "60", fix)
t.eq(states, {"reverted", "waiting", "waiting"})
serve(12, 12, 12)

-- Who ends before its turn is gone. Who ends while it is watched may have crashed, unless that is what they do.
t.eq(during_watch(0, kill_second, "--watch", "1", "--waves", "1,5", fix), {"patched", "gone", "patched"})
replace_second()
t.eq(during_watch(0, kill_second, "--watch", "1", "--waves", "3", "--exits-ok", fix), {"already", "gone", "already"})
for _, index in ipairs {1, 3} do t.state(ulp.revert(fleet[index].pid, fix), "done") end
replace_second()
states, summary = during_watch(1, kill_second, "--watch", "60", "--waves", "3", fix)
table.sort(states)
t.eq(states, {"gone", "reverted", "reverted"})
t.ok(summary.message:find "ended while it was watched", "the reason is told")
table.remove(fleet, 2)
serve(12, 12)

-- Mistakes of the operator.
for _, words in ipairs {
  {}, {"--health", "foo(", fix}, {"--waves", "0", fix}, {"--health", t.directory() .. "/none.lua", fix}, {"--tcp", "here", fix},
} do
  local wrong <close> = start(table.unpack(words))
  wrong:expect_exit(2)
end
serve(12, 12)

-- As a script by its path, for people.
local script <close> = t.ulpsh {
  core.stdlib_path .. "/../scripts/playbooks/canary.lua", "-p", tostring(fleet[1].pid), "--watch", "0", fix, timeout = 20,
}
script:expect "done: 1 patched"
script:expect_exit(0)
serve(13, 12)
