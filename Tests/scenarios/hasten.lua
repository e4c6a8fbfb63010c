-- timeout: 120
-- During one change ulpsh comes before other programs, where it may; afterwards nothing of that is left anywhere.
local t = require "ulp.scenario"
local core = require "ulp.core"

--- sched_setscheduler(2)'s policy as proc(5) has it, the 41st field: 0 for ordinary programs, 1 for SCHED_FIFO.
local function policy(pid)
  local file <close> = assert(io.open(("/proc/%s/stat"):format(pid)))
  local fields = {}
  for field in file:read "a":match "%) (.*)":gmatch "%S+" do fields[#fields + 1] = field end
  return tonumber(fields[39])
end

--- The policy after some milliseconds of work.
local function later()
  local deadline = t.clock() + 20
  while policy "self" ~= 0 and t.clock() < deadline do end
  return policy "self"
end

local may = core.user_id() == 0
t.eq(policy "self", 0, "the policy before")
t.eq(core.hasten(true), false, "it was not in a hurry")
if may then t.eq(policy "self", 1, "the policy in a change") end
t.eq(core.hasten(true), true, "once is enough")
local child <close> = t.spawn {"/bin/sh", "-c", "cut -d' ' -f41 /proc/self/stat"}
child:expect("0\n", {reject = "1\n"})
core.hasten(false)
t.eq(later(), 0, "the policy after a change")
core.hasten(true)
local began = t.clock()
while policy "self" ~= 0 and t.clock() - began < 60 do end
t.eq(policy "self", 0, "nobody is in a hurry for long")
core.hasten(false)

local c <close> = t.target {"threads", "40"}
local fix = t.patch "dozens_13"
local result, undo = ulp.trigger(c.pid, fix)
t.state(result, "done")
t.eq(later(), 0, "the policy after an apply")
t.ok(result.pause_us > 0 and result.carrier_us > 0, "what it cost is told")
c:ask("tell", "dozen=13.", {reject = "dozen=12."})
t.state(undo(), "done")
t.eq(later(), 0, "the policy after a revert")
t.eq(policy(c.pid), 0, "the target's policy")
c:ask("tell", "dozen=12.", {reject = "dozen=13."})
t.refused("file.unreadable", function() return ulp.trigger(c.pid, "/nowhere.so") end)
t.eq(later(), 0, "the policy after a refusal")
t.unharmed(c.pid)

-- A command that changes something is in a hurry before it looks at anything of its own, such as its command line.
local log = t.directory() .. "/log"
local tool <close> = t.spawn {
  "strace", "-qq", "-e", "trace=sched_setscheduler,openat", "-o", log, core.executable_path, "trigger", timeout = 25,
}
tool:expect_exit(2)
local first, looks
for line in io.lines(log) do
  if line:find "^sched_setscheduler%(" then first = first or looks or "nothing" end
  if line:find('"trigger"', 1, true) then looks = "its command line" end
end
t.eq(looks, "its command line", "what it looks at")
if may then t.eq(first, "nothing", "what it looks at before") end

-- What only looks like one is not in a hurry for long.
local script = t.write_file(t.directory() .. "/revert", [[
#!/usr/bin/env ulpsh
local deadline, policy = os.clock() + 2, nil
repeat
  local file <close> = assert(io.open "/proc/self/stat")
  local count = 0
  for field in file:read "a":match "%) (.*)":gmatch "%S+" do
    count = count + 1
    if count == 39 then policy = field end
  end
until policy == "0" or os.clock() > deadline
print(policy)]])
local impostor <close> = t.spawn {core.executable_path, "revert", cwd = script:match "^(.*)/", timeout = 25}
impostor:expect("0\n", {reject = "1\n"})

-- For many processes nothing of the kind.
local children = {}
for index = 1, 5 do children[index] = t.target {"numserv"} end
local pids = {}
for index, one in ipairs(children) do pids[index] = one.pid end
core.hasten(true)
for _, one in ipairs(ulp.trigger(pids, fix)) do t.state(one, "done") end
t.eq(later(), 0, "the policy during and after the work for five")
for _, one in ipairs(children) do one:kill() end
