--- `ulpsh test`: runs live scenarios, each in an ulpsh of its own with a time limit, and reports in TAP.
local core = require "ulp.core"
local spawn = require "ulp.spawn"

local M = {
  name = "test",
  summary = "Run live scenarios and report in TAP.",
}

local default_limit = 30
-- How long a scenario may take to start, and to report that its time was over.
local grace = 3

---@class ulp.ScenarioJob
---@field path string
---@field limit number seconds
---@field grace number seconds after it until the scenario is killed

--- What an argparse parser of this command takes.
function M.configure(parser)
  parser:argument("path", "Scenario files, or directories of them"):args "+"
  parser:option("-j --jobs", "Scenarios at the same time", "1"):convert(tonumber)
  parser:option("--skips", "File with the allowed reasons for skipping, one a line")
  parser:option("--patience", "Give each scenario so many times its time limit", "1"):convert(tonumber)
  parser:flag("--quick", "Leave out the scenarios that are marked as slow")
  parser:flag("--list", "Tell what each scenario proves, and run none")
  parser:flag("--verbose", "Show the transcript of every scenario")
  parser:option("--inside", "Run one scenario in this very process, for at most so many seconds"):convert(tonumber)
    :hidden(true)
end

-- One scenario, in this process

--- Raises an error when the time is over, so that a scenario that waits in vain can still show its transcript. Waits in
--- Swift are short slices; one that is not gets killed by the runner a little later.
local function limit_time(seconds)
  local deadline = core.clock() + seconds
  debug.sethook(function()
    if core.clock() < deadline then return end
    debug.sethook()
    error(("not finished after %g s"):format(seconds), 2)
  end, "", 100)
end

--- What was said with every child there is, and how each is.
local function transcripts()
  local parts = {}
  for child in pairs(spawn.children) do
    local exit = child:wait(0)
    local fate = exit and (exit.code and "exit code " .. exit.code or "signal " .. tostring(exit.signal)) or "alive"
    parts[#parts + 1] = ("--- %s, %s\n%s"):format(tostring(child), fate, child.transcript)
  end
  table.sort(parts)
  return table.concat(parts, "\n")
end

--- What the receipts of all operations of the scenario have found that only ulpsh can have caused, also of those that failed.
local function report_receipts()
  collectgarbage()
  collectgarbage()
  local receipts = core.receipts()
  for _, difference in ipairs(receipts.differences) do
    print(("fail: the receipt differs: %s of %s was %s, is %s"):format(
      difference.what, difference.thread or "the process", difference.before, difference.after))
  end
  if M.verbose then
    print(("receipts: %d stops, %d world-stops, %d calls, %d carriers met again"):format(
      receipts.stops, receipts.world_stops, receipts.calls, receipts.carriers_met))
  end
  return #receipts.differences == 0 and 0 or 1
end

--- What failed, behind the place in the scenario, which errors with a code do not name.
local function with_place(failure, traceback)
  local message = tostring(failure)
  for place in (message .. "\n" .. traceback):gmatch "\n\t([^\n]-%.lua:%d+): in " do
    if place:sub(1, #core.stdlib_path) ~= core.stdlib_path then
      return message:match "^[^\n]*":find(place, 1, true) and message or ("%s: %s"):format(place, message)
    end
  end
  return message
end

--- Runs the file; the exit status and the last line of the output tell the runner how it went.
local function run_inside(path, limit)
  io.stdout:setvbuf "line"
  core.adopt_orphans()
  limit_time(limit)
  core.set_receipts(true)
  local scenario = require "ulp.scenario"
  scenario.here = path:match "^(.*)/[^/]*$" or "."
  local chunk, syntax = loadfile(path)
  if not chunk then
    print("fail: " .. syntax)
    return 1
  end
  local done, err = xpcall(chunk, function(err)
    if type(err) == "table" and err.skip then return err end
    -- Now, before the scopes are left and the children in them killed.
    return {failure = err, traceback = debug.traceback(nil, 2), transcripts = transcripts()}
  end)
  debug.sethook()
  local code = 0
  if not done and err.skip then
    print("skip: " .. err.skip)
    code = 77
  elseif not done then
    print(("fail: %s\n%s\n%s"):format(with_place(err.failure, err.traceback), err.traceback, err.transcripts))
    code = 1
  elseif scenario.checks + spawn.expectations == 0 then
    print "fail: the scenario compared nothing"
    code = 1
  elseif M.verbose then
    print(transcripts())
  end
  if code == 0 and not scenario.damages then code = report_receipts() end
  for child in pairs(spawn.children) do child:close() end
  -- Grandchildren that nobody waited for have become ours.
  local left = core.kill_orphans {}
  if left > 0 and code == 0 then
    print(("fail: left %d processes behind"):format(left))
    code = 1
  end
  scenario.clean()
  return code
end

-- Many scenarios, each in its own process

--- What the comment lines at the top of a scenario say: `-- timeout: 60`, `-- slow`, and in words what it proves.
local function header_of(path)
  local header = {limit = default_limit, slow = false, words = {}}
  for line in io.lines(path) do
    if not line:match "^%-%-" then break end
    local limit = tonumber(line:match "^%-%- timeout: ([%d.]+)$")
    header.limit = limit or header.limit
    header.slow = header.slow or line == "-- slow"
    if not limit and line ~= "-- slow" then header.words[#header.words + 1] = line:match "^%-+%s*(.-)%s*$" end
  end
  header.proves = (table.concat(header.words, " ") .. " "):match "^(.-%.)%s" or table.concat(header.words, " ")
  return header
end

--- The scenario files that the arguments mean, in order; nil and the bad one if there is a bad one.
local function collect(paths, quick, patience)
  local jobs, chosen = {}, {}
  for _, path in ipairs(paths) do
    local names = core.list_directory(path)
    if names then
      for _, name in ipairs(names) do
        if name:match "%.lua$" then jobs[#jobs + 1] = {path = path:gsub("/+$", "") .. "/" .. name} end
      end
    else
      jobs[#jobs + 1] = {path = path}
    end
  end
  for _, job in ipairs(jobs) do
    local file = io.open(job.path)
    if not file then return nil, job.path end
    file:close()
    local header = header_of(job.path)
    job.limit, job.grace, job.proves = header.limit * patience, grace * patience, header.proves
    if not (quick and header.slow) then chosen[#chosen + 1] = job end
  end
  return chosen
end

local function allowed_skips(options)
  local allowed = {}
  local file = io.open(options.skips or (options.path[1]:gsub("/+$", "") .. "/allowed-skips"))
  if not file then return allowed end
  for line in file:lines() do if line ~= "" and line:sub(1, 1) ~= "#" then allowed[line] = true end end
  file:close()
  return allowed
end

local function start(job, options)
  local command = {core.executable_path, "test", "--inside", tostring(job.limit), job.path}
  if options.verbose then table.insert(command, "--verbose") end
  job.started, job.output = core.clock(), ""
  job.child = spawn(command)
end

--- How a job that ended went: "passed", "failed" or "skipped", and why.
local function verdict(job, exit, allowed)
  local output = job.output
  local said = ("\n" .. output):match "\nfail: ([^\n]*)"
  if not exit then return "failed", said or ("still running %g s after its limit, killed"):format(job.grace), output end
  if exit.signal then return "failed", ("ended by signal %d"):format(exit.signal), output end
  if exit.code == 77 then
    local reason = output:match "skip: ([^\n]*)" or "no reason"
    if allowed[reason] then return "skipped", reason, output end
    return "failed", "skipped for a reason that is not allowed: " .. reason, output
  end
  if exit.code == 0 then return "passed", nil, output end
  return "failed", said or "exit code " .. tostring(exit.code), output
end

--- Reports a scenario that is over. The line of one that failed tells why: it may be all that is kept of a log.
local function report(number, job, state, why, output, verbose)
  local took = core.clock() - job.started
  local name = job.path:match "([^/]*)%.lua$" or job.path
  local line = ("%s %d - %s"):format(state == "failed" and "not ok" or "ok", number, name)
  if state == "failed" then line = ("%s: %s"):format(line, why:gsub("%s+#", " \\#")) end
  print(line .. (state == "skipped" and " # SKIP " .. why or (" # %.1f s"):format(took)))
  if state == "failed" or verbose then
    if why and not output:find(why, 1, true) then print("# " .. why) end
    for text in (output .. "\n"):gmatch "(.-)\n" do if text ~= "" then print("# " .. text) end end
  end
  io.stdout:flush()
end

--- Runs the jobs, at most `options.jobs` at a time, and reports each when it is over.
local function run_all(jobs, options)
  local allowed = allowed_skips(options)
  local counts, running, following, reported = {passed = 0, failed = 0, skipped = 0}, {}, 1, 0
  core.adopt_orphans()
  print("1.." .. #jobs)
  while reported < #jobs do
    while #running < math.max(1, options.jobs) and jobs[following] do
      start(jobs[following], options)
      running[#running + 1] = jobs[following]
      following = following + 1
    end
    local raw = {}
    for _, job in ipairs(running) do raw[#raw + 1] = job.child.raw end
    core.wait_any(raw, 0.1)
    for index = #running, 1, -1 do
      local job = running[index]
      local exit = job.child:wait(0)
      job.output = job.output .. job.child:drain()
      if exit or core.clock() - job.started > job.limit + job.grace then
        local state, why, output = verdict(job, exit, allowed)
        job.child:kill()
        job.child:close()
        table.remove(running, index)
        -- What a scenario that died had started is ours now; nothing of it may disturb the next one.
        local known = {}
        for _, other in ipairs(running) do known[#known + 1] = other.child.pid end
        core.kill_orphans(known)
        counts[state] = counts[state] + 1
        reported = reported + 1
        report(reported, job, state, why, output, options.verbose)
      end
    end
  end
  print(("%d passed, %d failed, %d skipped"):format(counts.passed, counts.failed, counts.skipped))
  return counts.failed == 0 and 0 or 1
end

--- Runs the command; returns the exit status.
---@param options {path: string[], jobs: integer, skips?: string, quick?: boolean, verbose?: boolean, [string]: any}
---@param out ulp.cli.Output
---@return integer
function M.run(options, out)
  M.verbose = options.verbose
  if options.inside then return run_inside(options.path[1], options.inside) end
  local jobs, missing = collect(options.path, options.quick, options.patience or 1)
  if not jobs then
    io.stderr:write(("ulpsh test: cannot read %s\n"):format(missing))
    return 2
  end
  if #jobs == 0 then
    io.stderr:write "ulpsh test: no scenario found\n"
    return 4
  end
  if not options.list then return run_all(jobs, options) end
  for _, job in ipairs(jobs) do
    local name = job.path:match "([^/]*)%.lua$" or job.path
    local members = {name = name, path = job.path, limit = job.limit, proves = job.proves}
    out:note("scenario", members, ("%-20s %s"):format(name, job.proves))
  end
  return 0
end

return M
