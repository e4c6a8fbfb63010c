--- Cases of torture: each starts a target, patches and reverts it so many times, and raises an error when the target shows
--- the least sign of it. Each returns the rounds, the refusals that had to be repeated, and the world-stops.
local t = require "ulp.scenario"
local ulp = require "ulp"

local M = {names = {
  "threads8", "threads64", "join", "fork", "malloc", "dlopen", "both", "waits", "timer", "queued", "execs", "exits", "killed",
  "killed8", "pair", "flat", "suse_malloc", "suse_dlopen", "suse_fork", "suse_trim",
}}

--- World-stops and refusals of one case.
local function tally() return {rounds = 0, refused = 0, pauses = {}} end

local function finish(result, remark)
  table.sort(result.pauses)
  result.median, result.longest = result.pauses[(#result.pauses + 1) // 2], result.pauses[#result.pauses]
  result.remark = remark
  return result
end

--- Repeats what is refused for a passing reason, up to a limit that no healthy target needs.
local function insist(result, change, ...)
  for _ = 1, 20 do
    local done, found = pcall(change, ...)
    if done then
      t.ok(found.state == "done", "a change is done, not " .. tostring(found.state) .. " " .. tostring(found.message))
      result.pauses[#result.pauses + 1] = found.pause_us
      return found
    end
    local passing = {["carrier.none"] = true, ["patch.blocked"] = true, ["process.unstoppable"] = true, ["operation.busy"] = true,
      ["call.timeout"] = true}
    if not passing[found.code] then error(found, 0) end
    result.refused = result.refused + 1
  end
  error("refused twenty times in a row", 0)
end

--- Patches and reverts `rounds` times; `look(number)` is called after every change, but talks only now and then.
local function cycles(c, fix, rounds, look, each)
  local result = tally()
  local p <close> = assert(ulp.attach(c.pid))
  for round = 1, rounds do
    insist(result, ulp.trigger, p, fix)
    if round % each == 0 then look(13) end
    insist(result, ulp.revert, p, fix)
    if round % each == 0 then look(12) end
    result.rounds = round
  end
  look(12)
  t.unharmed(c.pid)
  -- What could not be unloaded at once is, by a later revert: retired containers do not pile up.
  local kept = #assert(p:runtime()):patches()
  t.ok(kept <= 32, ("%d containers are kept after %d reverts"):format(kept, rounds))
  return result
end

local function busy_threads(count)
  return function(rounds)
    local c <close> = t.target {"threads", tostring(count), timeout = 60}
    return finish(cycles(c, t.patch "mix_odd", rounds, function() c:ask("tell", "wrong=0 registers=0") end, 20))
  end
end
M.threads8, M.threads64 = busy_threads(8), busy_threads(64)

local function tumult(what, count)
  return function(rounds)
    local c <close> = t.target {"tumult", what, tostring(count), timeout = 60}
    local turns, ticks = 0, 0
    local function look(number)
      c:send "tell\n"
      local turned, failed, culprit, ticked, dozen = c:expect(
        "rounds=(%d+) failures=(%d+) culprit=(%d+) ticks=(%d+) dozen=(%d+)%.\n", {pattern = true})
      t.eq({tonumber(failed), tonumber(culprit), tonumber(dozen)}, {0, 0, number}, "failures, culprit, dozen")
      turns, ticks = turns + turned, ticks + ticked
    end
    local result = cycles(c, t.patch "dozens_13", rounds, look, 20)
    t.ok(turns > 0, "the target works")
    return finish(result, ("%d turns of the target, %d ticks"):format(turns, ticks))
  end
end
M.join, M.fork, M.waits, M.timer = tumult("join", 4), tumult("fork", 2), tumult("waits", 0), tumult("timer", 4)

local function churn(what)
  return function(rounds)
    local c <close> = t.target {"churn", what, "4", timeout = 60}
    local function look(number) c:ask("tell", ("failures=0 dozen=%d."):format(number)) end
    return finish(cycles(c, t.patch "dozens_13", rounds, look, 20))
  end
end
M.malloc, M.dlopen, M.both = churn "malloc", churn "dlopen", churn "both"

--- Numbered real-time signals, ten thousand a second: none is lost, doubled or overtaken.
function M.queued(rounds)
  local fix, result, sent = t.patch "dozens_13", tally(), 0
  while result.rounds < rounds do
    -- The storm numbers from 1 on: a target of its own for each.
    local count = 20000
    local other <close> = t.target {"signals", timeout = 60}
    local q <close> = assert(ulp.attach(other.pid))
    local storm <close> = t.spawn {t.path "sigstorm", tostring(other.pid), tostring(count), "50", timeout = 60}
    while storm:alive() and result.rounds < rounds do
      insist(result, ulp.trigger, q, fix)
      insist(result, ulp.revert, q, fix)
      result.rounds = result.rounds + 1
    end
    storm:expect(("sent %d\n"):format(count))
    t.sleep(0.05)
    other:ask("report", ("queued=%d sum=%d disorder=0."):format(count, count * (count + 1) // 2))
    sent = sent + count
  end
  return finish(result, sent .. " signals")
end

--- A program that replaces itself: every answer is welcome that comes in time, and the program goes on.
function M.execs(rounds)
  local c <close> = t.target {"execs", timeout = 60}
  local fix, result, done = t.patch "dozens_13", tally(), 0
  for round = 1, rounds do
    local began = t.clock()
    local well, answer = pcall(function()
      local p <close> = assert(ulp.attach(c.pid))
      return ulp.trigger(p, fix, {timeout = 0.02})
    end)
    if well and answer.state == "done" then done = done + 1 else result.refused = result.refused + 1 end
    t.ok(well or answer.code, "an answer with a code: " .. tostring(answer))
    t.ok(t.clock() - began < 3, "the answer comes in time")
    result.rounds = round
  end
  c:send "tell\n"
  c:expect("round=%d+ dozen=1[23]%.\n", {pattern = true})
  return finish(result, done .. " done")
end

--- A process that is killed at a random moment of an apply.
function M.exits(rounds)
  local fix, result, gone = t.patch "dozens_13", tally(), 0
  for round = 1, rounds do
    local c <close> = t.target {"numserv", timeout = 60}
    local p <close> = assert(ulp.attach(c.pid))
    local killer <close> = t.spawn {"/bin/sh", "-c", ("read x; sleep %.4f; kill -9 %d"):format(math.random() * 0.006, c.pid)}
    killer:send "\n"
    local done, answer
    for _ = 1, 100 do
      done, answer = pcall(ulp.trigger, p, fix)
      if not done or answer.state == "gone" then break end
      done, answer = pcall(ulp.revert, p, fix)
      if not done or answer.state == "gone" then break end
    end
    t.ok(done and answer.state == "gone" or answer.code, "an answer: " .. tostring(answer))
    if done and answer.state == "gone" then gone = gone + 1 else result.refused = result.refused + 1 end
    t.ok(c:wait(5), "the target ends, and its parent is told so")
    result.rounds = round
  end
  return finish(result, gone .. " gone")
end

--- The tool is killed at a random moment; the threads check their results and vector registers all the while.
local function killed(count)
  return function(rounds)
    local c <close> = t.target {"threads", tostring(count), timeout = 60}
    local fix, result, hit = t.patch "mix_odd", tally(), 0
    local script = ("local p = ulp.attach(%d) print 'go' while true do ulp.trigger(p, %q) ulp.revert(p, %q) end")
      :format(c.pid, fix, fix)
    for round = 1, rounds do
      local tool <close> = t.ulpsh {"-e", script, timeout = 60}
      tool:expect "go\n"
      t.sleep(math.random() * 0.01)
      tool:signal "KILL"
      if assert(tool:wait(10)).signal == 9 then hit = hit + 1 end
      t.unharmed(c.pid)
      c:ask("tell", "wrong=0 registers=0")
      result.rounds = round
    end
    local p <close> = assert(ulp.attach(c.pid))
    local last = ulp.trigger(p, fix)
    t.ok(last.state == "done" or last.state == "already", "the next command works")
    t.state(ulp.revert(p, fix), "done")
    c:ask("tell", "wrong=0 registers=0")
    return finish(result, hit .. " killed")
  end
end
M.killed, M.killed8 = killed(1), killed(8)

--- Two tools that want opposite things of one process.
function M.pair(rounds)
  local c <close> = t.target {"threads", "4", timeout = 60}
  local result = tally()
  local script = [[
    local p, fix, refused = ulp.attach(%d), %q, 0
    for _ = 1, %d do
      for _, change in ipairs {ulp.trigger, ulp.revert} do
        local done, answer = pcall(change, p, fix)
        if not done and not answer.code:find "^operation" and answer.code ~= "patch.not_applied" then error(answer, 0) end
        if not done then refused = refused + 1 end
      end
    end
    print(("refused %%d."):format(refused))]]
  local fix = t.patch "mix_odd"
  script = script:format(c.pid, fix, rounds // 2)
  local one <close> = t.ulpsh {"-e", script, timeout = 600}
  local two <close> = t.ulpsh {"-e", script, timeout = 600}
  for _, tool in ipairs {one, two} do
    result.refused = result.refused + tonumber((tool:expect("refused (%d+)%.", {pattern = true})))
    tool:expect_exit(0)
  end
  c:ask("tell", "wrong=0 registers=0")
  t.unharmed(c.pid)
  result.rounds = rounds
  return finish(result)
end

--- What a process holds: KiB of memory of its own (not pages of files, which come in as code is first run), descriptors,
--- mappings, threads.
local function holdings(pid)
  local status = t.read_file(("/proc/%s/status"):format(pid))
  local _, maps = t.read_file(("/proc/%s/maps"):format(pid)):gsub("\n", "")
  return {
    memory = tonumber(status:match "RssAnon:%s*(%d+)"), maps = maps, threads = tonumber(status:match "Threads:%s*(%d+)"),
    descriptors = #assert(require("ulp.core").list_directory(("/proc/%s/fd"):format(pid))),
  }
end

--- Nothing grows: neither in the target nor in the one tool that does it all.
function M.flat(rounds)
  local c <close> = t.target {"numserv", timeout = 60}
  local fix = t.patch "dozens_13"
  local p <close> = assert(ulp.attach(c.pid))
  --- Nothing is written down meanwhile: a list of results, or of what the target said, would be our own growth.
  local function many(count)
    for _ = 1, count do
      t.state(ulp.trigger(p, fix), "done")
      t.state(ulp.revert(p, fix), "done")
    end
    collectgarbage()
  end
  many(math.max(1000, rounds // 10))
  local target, tool = holdings(c.pid), holdings "self"
  local result = tally()
  many(rounds)
  result.rounds = rounds
  local target_after, tool_after = holdings(c.pid), holdings "self"
  c:ask("dozen", "12\n", {reject = "13\n"})
  t.unharmed(c.pid)
  for _, what in ipairs {"maps", "descriptors", "threads"} do t.eq(target_after[what], target[what], "the target's " .. what) end
  for _, what in ipairs {"descriptors", "threads"} do t.eq(tool_after[what], tool[what], "the tool's " .. what) end
  -- The allocator may split one of its areas.
  t.ok(tool_after.maps - tool.maps <= 4, ("the tool got %d mappings more"):format(tool_after.maps - tool.maps))
  t.ok(target_after.memory - target.memory <= 16, ("the target grew by %d KiB"):format(target_after.memory - target.memory))
  t.ok(tool_after.memory - tool.memory <= 64, ("the tool grew by %d KiB"):format(tool_after.memory - tool.memory))
  return finish(result, ("target %+d KiB, tool %+d KiB %+d mappings"):format(
    target_after.memory - target.memory, tool_after.memory - tool.memory, tool_after.maps - tool.maps))
end

--- SUSE's tool, as a stand-in drives the runtime: rounds are runs of an entry; none may fail to come to its end.
local function suse(target, word)
  return function(rounds)
    target.timeout = 60
    local run = dofile((debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$") .. "/../../Tests/scenarios/shared/suse_churn.lua")
    local counts = run(target, rounds, t.patch "dozens_13", function(c) c:ask(word, "failures=0 ") end)
    return {rounds = rounds, refused = counts.again, pauses = {}, remark =
      ("%d done, %d not now, %d hindered by a signal, %d hangs"):format(counts.ok, counts.again, counts.unrun, counts.hang)}
  end
end
M.suse_malloc, M.suse_dlopen = suse({"churn", "malloc", "4"}, "tell"), suse({"churn", "dlopen", "4"}, "tell")
M.suse_fork, M.suse_trim = suse({"tumult", "fork", "2"}, "tell"), suse({"churn", "trim", "4"}, "tell")

return M
