--- The hard targets: how each is started, how it says what it does, and what is to become of a patch.
---
--- A kind has `command`, `shows(c, number)` which asks the target for the number and for its own complaints, and either
--- `code`, with which it is refused by design, or `any`, where each outcome is right that comes in time.
local t = require "ulp.scenario"

--- @class targets.Kind
--- @field name string
--- @field command string[]
--- @field shows fun(c: ulp.Spawned, number: integer)
--- @field code? string it is refused by design
--- @field any? boolean each outcome is right
--- @field changes? boolean it becomes another program by itself, so that nothing is reverted
--- @field pty? boolean it has a session of its own, as a daemon has: the scheduler counts it apart from ulpsh
--- @field quiet? boolean it cannot be asked between `before` and `after`, being in other hands
--- @field beside? fun(c: ulp.Spawned): ulp.Spawned something that runs as long as the round
--- @field before? fun(c: ulp.Spawned) what happens to it before the patch
--- @field after? fun(c: ulp.Spawned, beside: ulp.Spawned?) what is asked when the round is over

local kinds = {}

local function add(name, command, shows, rest)
  local kind = rest or {}
  kind.name, kind.command, kind.shows = name, command, shows
  kinds[#kinds + 1] = kind
end

--- A target that answers `word` with a line in which the number stands.
local function answers(word, form)
  return function(c, number)
    c:ask(word, form:format(number), {reject = form:format(25 - number)}) -- 12 and 13
  end
end

local plain, tells = answers("dozen", "%d\n"), answers("tell", "dozen=%d.")
local function computes(c, number)
  c:ask("tell", "wrong=0 registers=0 idle=%d+ dozen=%d+%.", {pattern = true}) -- the rest of this answer must not stay
  tells(c, number)
end

local function idle(call) add("idle " .. call, {"idle", call, "300"}, plain) end
idle "read"
idle "epoll_wait"
for _, count in ipairs {1, 8, 64, 512} do
  add("busy " .. count, {"threads", tostring(count)}, computes)
  add(("busy %d apart"):format(count), {"threads", tostring(count)}, computes, {pty = true})
end
for _, what in ipairs {"malloc", "dlopen", "both", "trim"} do
  add("churn " .. what, {"churn", what, "4"}, answers("tell", "failures=0 dozen=%d."))
end

--- Failures and wrong results are counted by the target itself.
local function tumult(c, number)
  c:send "tell\n"
  local failed, culprit, dozen = c:expect("failures=(%d+) culprit=(%d+) ticks=%d+ dozen=(%d+)%.\n", {pattern = true})
  t.eq({failed, culprit, dozen}, {"0", "0", tostring(number)}, "failures, culprit, dozen")
end
for _, what in ipairs {"fork", "join", "timer", "waits"} do
  add("tumult " .. what, {"tumult", what, what == "fork" and "2" or "4"}, tumult)
end

--- Numbered signals, one every so many microseconds: each is handled once and in order.
local function signals(name, microseconds)
  add(name, {"signals"}, plain, {
    beside = function(c) return t.spawn {t.path "sigstorm", tostring(c.pid), "1000000", microseconds} end,
    after = function(c, storm)
      storm:kill()
      t.sleep(0.05)
      c:send "report\n"
      local queued, sum = c:expect("queued=(%d+) sum=(%d+) disorder=0%.", {pattern = true})
      queued = tonumber(queued)
      t.ok(queued > 0, "signals were handled")
      t.eq(tonumber(sum), queued * (queued + 1) // 2, "the sum of the signals' numbers")
    end,
  })
end
signals("signals 1 kHz", "1000")
signals("signals 10 kHz", "50")

-- The patch is gone with the next exec, a few milliseconds later: an answer must come, whatever it is, and nothing may stop.
add("exec", {"execs"}, function(c)
  c:send "tell\n"
  c:expect("round=%d+ dozen=1[23]%.\n", {pattern = true})
end, {changes = true, any = true})

add("leader gone", {"leader_exit"}, plain)
add("small stack", {"coroutine"}, answers("dozen", "%d damage=0.\n"))

-- Restrictions
for _, mode in ipairs {"none", "fresh", "mdwe", "dumpable", "locked", "space", "size", "procs", "allowed", "nobody"} do
  add(mode, {"hard", mode}, tells)
end
for _, call in ipairs {"nanosleep", "poll"} do
  add("barred " .. call, {"idle", call, "300", "no-restart"}, plain)
end
for _, mode in ipairs {"seccomp-exec", "seccomp-open", "lacks-openat", "lacks-mprotect", "lacks-pread64"} do
  add(mode, {"hard", mode}, tells, {code = "seccomp.forbidden"})
end
add("strict beside others", {"hard", "strict-main"}, tells)
add("full descriptor table", {"hard", "full"}, tells, {code = "stage.failed"})
-- A thread that no signal reaches stays in the script's hands until it stops by itself.
add("thread in vfork", {"hard", "vfork"}, tells, {code = "process.unstoppable", quiet = true, after = function(c)
  c:ask("free", "dozen=12.", {reject = "dozen=13."})
end})
add("seccomp-strict", {"hard", "seccomp-strict"}, function() end, {code = "seccomp.strict"})

-- In another world. A kernel that makes no such thing makes no such target.
if os.execute "unshare -m true 2>/dev/null" then
  local script = 'mount --make-rprivate / && mount -o remount,bind,ro / && exec "$0" none'
  add("read-only root", {"/usr/bin/unshare", "-m", "/bin/sh", "-c", script, t.path "hard"}, tells)
end
if os.execute "unshare -Ur true 2>/dev/null" then
  add("user namespace", {"/usr/bin/unshare", "-Ur", t.path "hard", "none"}, tells)
end

-- In somebody else's hands
add("traced", {"numserv"}, plain, {code = "process.traced", beside = function(c)
  local tracer = t.spawn {t.path "tracer", tostring(c.pid)}
  tracer:expect "holding"
  return tracer
end, quiet = true})
add("stopped", {"numserv"}, plain, {code = "process.stopped", quiet = true, before = function(c)
  c:signal "STOP"
  local deadline = t.clock() + 5
  while not t.states(c.pid):find "T" and t.clock() < deadline do t.sleep(0.005) end
end, after = function(c)
  c:signal "CONT"
  plain(c, 12)
end})

-- The groups are removed when all is over.
local here = arg[0]:match "^(.*)/" or "."
for number, make in ipairs(dofile(here .. "/../../Tests/scenarios/shared/freezer.lua").all()) do
  local group
  add("frozen" .. (number == 1 and "" or " " .. number), {"numserv"}, plain, {
    code = "process.frozen", quiet = true,
    before = function(c)
      group = group or make()
      group:add(c.pid)
      group:freeze()
    end,
    after = function(c)
      group:thaw()
      plain(c, 12)
    end,
  })
end

return kinds
