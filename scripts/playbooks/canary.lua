#!/usr/bin/env ulpsh
--- canary: patches one process, watches it, then patches the others in waves, and takes everything back when one gets ill.
---
--- category: intrusive (changes processes)
--- usage:    ulpsh run canary [options] PATCH...
---
---     -p, --process PID|NAME|GLOB  the fleet, the first one is the canary; without it, every process that has the first
---                                  patch's target library
---     -u, --user USER              only processes of this user
---     --waves 1,10,100             how many processes a wave takes; the last number goes on
---     --watch SECONDS              how long everything patched so far is watched after each wave (10)
---     --interval SECONDS           between two looks at the same process (1)
---     --failures N                 how many failed looks in a row make a process ill (1)
---     --exits-ok                   a patched process may end while it is watched: workers that come and go
---     --keep                       leave in place what is patched when the rollout fails or is interrupted
---     --plan                       look at everything, say what would happen, change nothing
---     --json                       one JSON object a line
---     --timeout, --max-pause, --consistency as for `ulpsh trigger`
---
--- What "healthy" means; a process always has to be alive. Each may be repeated, all must hold, and they must hold before
--- the first patch as well:
---
---     --health EXPRESSION          Lua, with the process as `p`:  '#p.threads < 200'
---     --health FILE.lua            a file that returns a function of the process: true, or false and the reason
---     --command COMMAND            the shell's exit status is 0; $PID and $COMM name the process
---     --http URL, --tcp HOST:PORT  answers to curl, accepts a connection (bash)
---     --cpu PERCENT                uses less than this much of one processor between two looks
---     --limit SECONDS              how long a command may take (5)
---
--- A process that ends before its turn is `gone`, which is no failure; one that ends while it is watched is, as a crash
--- looks the same from outside. What was in force before the rollout is not touched by it, also not when it is taken back.
--- Ctrl-C takes back, too; a second one ends the playbook at once, and then `ulpsh run report` tells what is where. Either
--- way no process is left between two versions.
---
--- exit status: 0 every process is patched (or gone), 1 refused or taken back, 2 usage, 4 no process matches, 5 something
--- could not be taken back, 130 interrupted
---
---     $ ulpsh run canary -p numserv --command 'test -d /proc/$PID' --watch 2 --waves 1,2 fix.so
---     3 processes, every one can be patched
---     wave 1: numserv[15654] patched (paused 61 us)
---     watching 1 process for 2 s
---     wave 2: numserv[15655] patched (paused 58 us)
---     wave 2: numserv[15658] patched (paused 55 us)
---     watching 3 processes for 2 s
---     done: 3 patched
---       PID    PROCESS  WAVE  STATE    PAUSE  NOTE
---       15654  numserv  1     patched  61 us
---       15655  numserv  2     patched  58 us
---       15658  numserv  2     patched  55 us
local ulp = require "ulp"

local status = {done = 0, failed = 1, usage = 2, nothing = 4, attention = 5, interrupted = 130}

-- Arguments

local parser = require "argparse" ("canary.lua", "Patch one process, watch it, then patch the others in waves.")
parser:help_max_width(100)
parser:argument "patch":args "+":description "Live patches, applied all or none in each process."
parser:option "-p --process":argname "<pid|name|glob>":count "*":description "The fleet; may be repeated."
parser:option "-u --user":argname "<user>":description "Only processes of this user."
parser:option "--waves":argname "<n,n,...>":default "1,10,100":description "How many processes a wave takes."
parser:option "--watch":argname "<seconds>":convert(tonumber):default "10":description "Watch so long after each wave."
parser:option "--interval":argname "<seconds>":convert(tonumber):default "1":description "Time between two looks."
parser:option "--failures":argname "<n>":convert(math.tointeger):default "1":description "Failed looks in a row that count."
parser:flag "--exits-ok":description "A patched process may end while it is watched."
parser:flag "--keep":description "Take nothing back."
parser:flag "--plan":description "Change nothing."
parser:flag "--json":description "Print JSON lines."
parser:option "--health":argname "<expression|file.lua>":count "*":description "Lua about the process `p`."
parser:option "--command":argname "<command>":count "*":description "A shell command about $PID and $COMM."
parser:option "--http":argname "<url>":count "*":description "curl gets an answer below 400."
parser:option "--tcp":argname "<host:port>":count "*":description "A connection is accepted."
parser:option "--cpu":argname "<percent>":convert(tonumber):description "Most of one processor it may use."
parser:option "--limit":argname "<seconds>":convert(tonumber):default "5":description "How long a command may take."
parser:option "--timeout":argname "<seconds>":convert(tonumber):description "Time for one change of one process."
parser:option "--max-pause":argname "<duration>":description "Longest world-stop, for example 5ms."
parser:option "--consistency":choices {"stack", "immediate"}:description "Wait for threads inside the functions, or do not."

local function usage_error(text)
  io.stderr:write(parser:get_usage(), "\ncanary: ", text, "\n")
  os.exit(status.usage)
end

local parsed, options = parser:pparse({...})
if not parsed then usage_error(options) end
for _, name in ipairs {"watch", "interval", "limit"} do
  if options[name] < 0 then usage_error(("--%s must not be negative"):format(name)) end
end
local sizes = {}
for word in (options.waves .. ","):gmatch "([^,]*)," do
  local size = math.tointeger(tonumber(word))
  if not size or size < 1 then usage_error("--waves takes numbers from 1 on, separated by commas") end
  sizes[#sizes + 1] = size
end
local change = {timeout = options.timeout, max_pause = options.max_pause, consistency = options.consistency}

-- Output

--- Names come from the processes: control characters must not steer the terminal.
local function clean(text) return (tostring(text):gsub("%c", "?"):gsub("\194[\128-\159]", "?")) end

--- Text for JSON, which is UTF-8, whatever a health command prints.
local function valid(text) return utf8.len(text) and text or (text:gsub("[\128-\255]", "?")) end

local function say(kind, members, text)
  if not options.json then
    print(text)
  else
    members.schema, members.type = 1, kind
    members.message = members.message and valid(members.message)
    print((require "dkjson".encode(members, {keyorder = {"schema", "type", "state", "pid", "comm"}})))
  end
  io.stdout:flush()
end

local function fail(code, message, exit_status)
  say("error", {code = code, message = message}, ("canary: %s [%s]"):format(clean(message), code))
  os.exit(exit_status)
end

local function name_of(member) return ("%s[%d]"):format(clean(member.comm), member.pid) end
local function counted(n) return n == 1 and "1 process" or n .. " processes" end

--- A raised value in words. What has no code is a mistake in a script: it may say so itself.
local function reason(err)
  return type(err) == "table" and err.code and ("%s [%s]"):format(err.message, err.code) or tostring(err)
end
local function is_interrupt(err) return type(err) == "table" and err.code == "script.interrupted" end

--- `pcall` through which Ctrl-C gets.
local function try(body, ...)
  local results = table.pack(pcall(body, ...))
  if not results[1] and is_interrupt(results[2]) then error(results[2], 0) end
  return table.unpack(results, 1, results.n)
end

-- Health: every look is a function of a member of the fleet that returns true, or false and the reason.

local looks = {}

local function expression(text)
  local chunk, message = load("local p = ... return " .. text, "=--health", "t")
  if not chunk then usage_error(message) end
  return function(member)
    local done, value, why = try(chunk, member.p)
    if not done then return false, reason(value) end
    return value and true, why or "not true: " .. text
  end
end

local function file(path)
  local chunk, message = loadfile(path, "t")
  local done, body
  if chunk then done, body = pcall(chunk) end
  if not done or type(body) ~= "function" then
    usage_error(message or done and path .. " must return a function" or reason(body))
  end
  return function(member)
    local ran, value, why = try(body, member.p)
    if not ran then return false, reason(value) end
    return value and true, why or path .. " says no"
  end
end

local function command(text, ...)
  local words = select("#", ...) > 0 and {...} or {"/bin/sh", "-c", text}
  return function(member)
    local request = {env = {PID = tostring(member.pid), COMM = member.comm}, timeout = options.limit}
    local child <close> = ulp.spawn(table.move(words, 1, #words, 1, request))
    local exit = child:wait()
    if exit and exit.code == 0 then return true end
    local last = child:drain():match "([^\n]+)\n*$"
    local how = not exit and "no end within " .. options.limit .. " s" or exit.code and "exit status " .. exit.code
      or "signal " .. exit.signal
    return false, ("%s: %s%s"):format(text, how, last and ", " .. clean(last) or "")
  end
end

--- Clock ticks (1/100 s) that a process has used: proc(5), fields 14 and 15 of stat. The name in field 2 may hold anything.
local function ticks(pid)
  local stat = io.open(("/proc/%d/stat"):format(pid))
  local line = stat and stat:read "a"
  if stat then stat:close() end
  local user, system = (line or ""):match "^.*%) %a%s+%-?%d+ %-?%d+ %-?%d+ %-?%d+ %-?%d+ %d+ %d+ %d+ %d+ %d+ (%d+) (%d+)"
  return user and user + system
end

local function processor(limit)
  return function(member)
    local now, used, before = ulp.core.clock(), ticks(member.pid), member.processor
    if not used or before and now - before.at < 0.1 then return true end
    member.processor = {at = now, used = used}
    local percent = before and (used - before.used) / (now - before.at) or 0
    return percent < limit, ("uses %.0f %% of a processor"):format(percent)
  end
end

for _, text in ipairs(options.health) do looks[#looks + 1] = (text:match "%.lua$" and file or expression)(text) end
for _, text in ipairs(options.command) do looks[#looks + 1] = command(text) end
for _, url in ipairs(options.http) do
  looks[#looks + 1] = command("curl " .. url, "curl", "-fsS", "-o", "/dev/null", "--", url)
end
for _, place in ipairs(options.tcp) do
  local host, port = place:match "^(.+):(%d+)$"
  if not host then usage_error "--tcp takes HOST:PORT" end
  looks[#looks + 1] = command("connection to " .. place, "bash", "-c", 'exec 3<>"/dev/tcp/$1/$2"', "bash", host, port)
end
if options.cpu then looks[#looks + 1] = processor(options.cpu) end

--- Whether a process is well; false and the reason if it is not.
local function healthy(member)
  if not member.p.alive then return false, "it has ended" end
  for _, look in ipairs(looks) do
    local well, why = look(member)
    -- What fails because the process has just ended is not the reason.
    if not well then return false, member.p.alive and why or "it has ended" end
  end
  return true
end

-- The fleet

local containers = {}
for index, path in ipairs(options.patch) do
  local container, err = ulp.container(path)
  if not container then fail(err.code, err.message, status.failed) end
  containers[index] = container
end

local fleet, seen = {}, {}

--- A process may end at any moment: one that was asked for stays on the list, and is told as gone when its turn comes.
local function add(p, asked)
  local alive, comm, user, uid = pcall(function() return p.comm, p.user, p.uid end)
  local belongs = alive and (not options.user or user == options.user or tostring(uid) == options.user)
  if seen[p.pid] or not (belongs or asked and not alive) then return end
  seen[p.pid] = true
  fleet[#fleet + 1] = {p = p, pid = p.pid, comm = alive and comm or "?", state = "waiting", asked = asked}
end

--- Adds the processes that are asked for and not in the fleet yet.
local function gather()
  for _, word in ipairs(options.process) do
    local pid = math.tointeger(tonumber(word))
    if pid and not seen[pid] then
      local p, err = ulp.attach(pid)
      if p then add(p, true) else usage_error(reason(err)) end
    elseif not pid then
      for p in ulp.processes{name = word, runtime = true} do add(p) end
    end
  end
  if #options.process > 0 then return end
  for p in ulp.processes{lib = containers[1].target:match "[^/]*$"} do add(p) end
end

--- Plans every waiting process and asks for its health. Nothing is stopped or changed. Returns how many refuse.
local function survey()
  local refused = 0
  for index = #fleet, 1, -1 do
    local member = fleet[index]
    if member.state == "waiting" and not member.plan then
      local done, result = try(ulp.trigger, member.p, containers, {dry_run = true})
      local well, why = true, nil
      if done and result.state == "skipped" then
        member.plan = result.plan
        well, why = healthy(member)
      elseif done then
        member.state = result.state -- already, gone
      elseif result.code == "runtime.missing" and not member.asked then
        table.remove(fleet, index) -- the file is mapped, but not by the loader
      else
        well, why = false, reason(result)
      end
      if not well and not member.p.alive then
        member.state = "gone"
      elseif not well then
        member.state, member.note, refused = "refused", why, refused + 1
      end
    end
  end
  return refused
end

-- One process

--- The patches of the rollout that are in force in a process.
local function in_force(p)
  local found = {}
  for _, container in ipairs(containers) do
    if ulp.check(p, container).applied then found[#found + 1] = container end
  end
  return found
end

--- Notes what is really in force, whatever was raised on the way.
local function find_out(member)
  if not member.p.alive then
    member.state = "gone"
    return
  end
  local done, now = pcall(in_force, member.p)
  if not done then
    member.state, member.note = "stuck", reason(now)
  else
    member.state = #now == #containers and "patched" or "waiting"
  end
end

local function patch(member, wave)
  member.wave, member.before = wave, {}
  local done, result
  local ran, err = pcall(function()
    for _, container in ipairs(in_force(member.p)) do member.before[container.id] = true end
    done, result = pcall(ulp.trigger, member.p, containers, change)
  end)
  if not ran then done, result = false, err end
  if done then
    member.state = result.state == "done" and "patched" or result.state
    member.pause_us = result.pause_us
  else
    find_out(member) -- Ctrl-C may have come behind the switch
    if member.state == "waiting" then member.state, member.note = "refused", reason(result) end
  end
  local more = member.note and ": " .. clean(member.note) or member.pause_us and (" (paused %.0f us)"):format(member.pause_us)
  local text = ("wave %d: %s %s%s"):format(wave, name_of(member), member.state, more or "")
  say("patch", {state = member.state, pid = member.pid, comm = member.comm, wave = wave, pause_us = member.pause_us}, text)
  if not done and is_interrupt(result) then error(result, 0) end
  if member.state ~= "patched" and member.state ~= "already" and member.state ~= "gone" then
    error {failure = ("%s: %s"):format(name_of(member), member.note or member.state)}
  end
end

--- Takes back what this rollout has brought into the process, and nothing else.
local function take_back(member)
  local ours = {}
  for _, container in ipairs(containers) do
    if not member.before[container.id] then ours[#ours + 1] = container end
  end
  local done, result = pcall(ulp.revert, member.p, ours, {timeout = options.timeout, consistency = options.consistency})
  if done then
    member.state = result.state == "gone" and "gone" or "reverted"
  else
    find_out(member)
    if member.state == "waiting" then member.state = "reverted"
    elseif member.state == "patched" then member.state, member.note = "stuck", reason(result) end
  end
  say("revert", {state = member.state, pid = member.pid, comm = member.comm, message = member.note},
    ("%s %s%s"):format(name_of(member), member.state, member.note and ": " .. clean(member.note) or ""))
end

-- The rollout

local function patched()
  local found = {}
  for _, member in ipairs(fleet) do if member.state == "patched" then found[#found + 1] = member end end
  return found
end

local function look_at(member)
  local well, why = healthy(member)
  if well then
    member.failures = 0
  elseif not member.p.alive then
    member.state = "gone"
    if not options.exits_ok then error {failure = name_of(member) .. " ended while it was watched"} end
  else
    member.failures = (member.failures or 0) + 1
    if member.failures >= options.failures then
      member.note = why
      error {failure = ("%s is ill: %s"):format(name_of(member), why)}
    end
  end
end

--- Looks at everything patched so far, at least twice, until the time is over.
local function watch()
  local members, deadline = patched(), ulp.core.clock() + options.watch
  say("watch", {count = #members, seconds = options.watch}, ("watching %s for %g s"):format(counted(#members), options.watch))
  repeat
    local began = ulp.core.clock()
    for _, member in ipairs(members) do if member.state == "patched" then look_at(member) end end
    local left, wake = deadline - ulp.core.clock(), math.min(deadline, began + options.interval)
    while ulp.core.clock() < wake do ulp.core.sleep(wake - ulp.core.clock()) end
  until left <= 0
end

--- The next members that wait, at most `size` that are still there.
local function next_wave(size)
  local wave = {}
  for _, member in ipairs(fleet) do
    if #wave == size then break end
    if member.state == "waiting" and not member.p.alive then member.state = "gone" end
    if member.state == "waiting" then wave[#wave + 1] = member end
  end
  return wave
end

local function roll_out()
  local number = 1
  while true do
    local wave = next_wave(sizes[math.min(number, #sizes)])
    if #wave == 0 then
      -- Processes that were started meanwhile make further waves; children of patched ones are patched already.
      local before = #fleet
      gather()
      if #fleet == before then return end
      if survey() > 0 then error {failure = "a process that was started meanwhile refuses"} end
    else
      local some = false
      for _, member in ipairs(wave) do
        patch(member, number)
        some = some or member.state == "patched"
      end
      -- A wave whose processes were all gone has shown nothing: the next is as small.
      if some then
        watch()
        number = number + 1
      end
    end
  end
end

-- The end

local function table_of(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for column, text in ipairs(row) do widths[column] = math.max(widths[column] or 0, utf8.len(text) or #text) end
  end
  for index, row in ipairs(rows) do
    local cells = {}
    for column, text in ipairs(row) do cells[column] = text .. (" "):rep(widths[column] - (utf8.len(text) or #text)) end
    lines[index] = ("  " .. table.concat(cells, "  ")):gsub(" +$", "")
  end
  return table.concat(lines, "\n")
end

--- Prints what became of every process, and ends.
local function finish(outcome, code, why)
  local rows, counts, order = {{"PID", "PROCESS", "WAVE", "STATE", "PAUSE", "NOTE"}}, {}, {}
  for _, member in ipairs(fleet) do
    if member.state == "stuck" then code = status.attention end
    if not counts[member.state] then order[#order + 1] = member.state end
    counts[member.state] = (counts[member.state] or 0) + 1
    local pause = member.pause_us and ("%.0f us"):format(member.pause_us) or ""
    rows[#rows + 1] = {
      tostring(member.pid), clean(member.comm), tostring(member.wave or ""), member.state, pause, clean(member.note or ""),
    }
    if options.json then
      say("result", {
        state = member.state, pid = member.pid, comm = member.comm, wave = member.wave, pause_us = member.pause_us,
        message = member.note,
      })
    end
  end
  local parts = {}
  for index, state in ipairs(order) do parts[index] = counts[state] .. " " .. state end
  local text = ("%s: %s%s\n%s"):format(outcome, table.concat(parts, ", "), why and "\n  " .. clean(why) or "", table_of(rows))
  say("summary", {state = outcome, counts = counts, message = why, status = code}, text)
  os.exit(code)
end

local function main()
  gather()
  local refused = survey()
  if #fleet == 0 then fail("process.not_found", "no process matches", status.nothing) end
  if options.plan then
    for _, member in ipairs(fleet) do
      local plan = member.plan
      if plan then say("plan", {pid = member.pid, comm = member.comm, plan = plan}, (plan:gsub("\n+$", ""))) end
    end
    finish("plan", refused > 0 and status.failed or status.done)
  end
  if refused > 0 then finish("refused", status.failed, "nothing was changed") end
  say("fleet", {count = #fleet}, ("%s, every one can be patched"):format(counted(#fleet)))
  roll_out()
end

local done, err = pcall(main)
if done then finish("done", status.done) end
local why = is_interrupt(err) and "interrupted" or type(err) == "table" and err.failure or reason(err)
say("failure", {message = why}, "failed: " .. clean(why))
if not options.keep then
  local members = patched()
  for index = #members, 1, -1 do take_back(members[index]) end
end
local counts = {}
for _, member in ipairs(fleet) do counts[member.state] = (counts[member.state] or 0) + 1 end
local outcome = (counts.stuck or counts.patched) and "incomplete" or counts.reverted and "taken back" or "failed"
finish(outcome, is_interrupt(err) and status.interrupted or status.failed, why)
