-- timeout: 200
-- A system call that is refused says nothing about the process: what can be had otherwise is had, what cannot is told with its
-- cause, and nothing that could not be read is taken for gone, lost or changed.
local t = require "ulp.scenario"
local core = require "ulp.core"

local log = t.directory() .. "/calls"

--- Runs ulpsh under strace, which refuses some of its calls. Returns the exit code, what was said, and the lines of the calls
--- that were looked at.
local function run(options, ...)
  local command = {"strace", "-qq", "-o", log, timeout = 100}
  for _, list in ipairs {options, {core.executable_path, ...}} do table.move(list, 1, #list, #command + 1, command) end
  local child <close> = t.spawn(command)
  local exit = t.ok(child:wait(100), "the tool ends")
  child:drain()
  local lines = {}
  for line in io.lines(log) do -- without signals
    if line:match "^%w" then lines[#lines + 1] = line end
  end
  return exit.code, child.transcript, lines
end

local function inject(call, what) return {"-e", "trace=" .. call, "-e", ("inject=%s:%s"):format(call, what)} end

local function refused(lines)
  for _, line in ipairs(lines) do
    if line:find("(INJECTED)", 1, true) then return line end
  end
end

local c <close> = t.target {"threads", "4", timeout = 60}
local pid, fix = tostring(c.pid), t.patch "dozens_13"
local versions = {trigger = "dozen=13.", revert = "dozen=12."}
local function serves(verb, other) c:ask("tell", versions[verb], {reject = versions[other]}) end

-- A filter of the container that the tool runs in, or a security module: memory is read through the open file.
for _, number in ipairs {"EPERM", "ENOSYS"} do
  for _, step in ipairs {{"trigger", "revert"}, {"check"}, {"revert", "trigger"}} do
    local code, said, lines = run(inject("process_vm_readv", "error=" .. number .. ":when=1+"), step[1], "-p", pid, fix)
    t.eq(code, 0, step[1] .. " without process_vm_readv: " .. said)
    t.ok(refused(lines), "it was refused")
    if step[2] then serves(step[1], step[2]) end
  end
end

-- A page that cannot be read just now, each once, is not a library that was unloaded: a patch in force stays a patch in force.
t.insist(function() return ulp.trigger(c.pid, fix) end)
local place, done, failed = 0, 0, 0
repeat
  place = place + 9
  local code, said, lines = run(inject("process_vm_readv", ("error=EFAULT:when=%d"):format(place)), "revert", "-p", pid, fix)
  local was_refused = refused(lines)
  if code == 0 then
    done = done + 1
    t.ok(not said:find("already", 1, true), "it does not say that there was nothing to revert: " .. said)
    serves("revert", "trigger")
    t.insist(function() return ulp.trigger(c.pid, fix) end)
  else
    failed = failed + 1
    t.ok(said:find "cannot read %d+ bytes" or said:find "%[[%l_]+%.[%l_]+%]", "the cause is told: " .. said)
    serves("trigger", "revert")
  end
  t.unharmed(c.pid)
until not was_refused
t.ok(place > 20 and done > 0 and failed > 0, ("%d places, %d done, %d failed"):format(place, done, failed))

-- What cannot be opened or read for want of memory or by a fault is there all the same.
local stat = ("/proc/%s/stat"):format(pid)
for _, case in ipairs {{"openat", "ENOMEM", "Cannot allocate memory"}, {"read", "EIO", "Input/output error"}} do
  local options = inject(case[1], "error=" .. case[2] .. ":when=1+")
  table.move({"-P", stat}, 1, 2, #options + 1, options)
  local code, said = run(options, "check", "-p", pid, fix)
  t.ok(code ~= 0 and said:find(case[3], 1, true), "the cause is told: " .. said)
  t.ok(not said:find "has ended" and not said:find "no process", "and nothing else: " .. said)
end

-- A container that cannot be looked at has not been changed.
local refusals = 0
for number = 1, 9, 2 do
  local request = inject("newfstatat", ("error=EIO:when=%d"):format(number))
  table.move({"-P", fix, "-P", ("/proc/%s/root%s"):format(pid, fix)}, 1, 4, #request + 1, request)
  local code, said = run(request, "revert", "-p", pid, fix)
  if code ~= 0 then
    refusals = refusals + 1
    t.ok(said:find("Input/output error", 1, true), "the cause is told: " .. said)
    t.ok(not said:find "was changed" and not said:find "another file", "and nothing else: " .. said)
  end
  t.insist(function() return ulp.trigger(c.pid, fix) end)
end
t.ok(refusals > 0, "it was refused")

-- A module that cannot be opened is not one that is not there.
local options = inject("openat", "error=ENFILE:when=1+")
for template in package.path:gmatch "[^;]+" do
  table.move({"-P", (template:gsub("%?", "ulp/trigger"))}, 1, 2, #options + 1, options)
end
local code, said = run(options, "-e", "ulp.trigger(1)")
t.ok(code ~= 0 and said:find("Too many open files in system", 1, true), "the cause is told: " .. said)
t.ok(not said:find "nil value", "and nothing else: " .. said)

--- The numbers of the calls of ptrace(2) in one run that make a request.
local function requests(lines, wanted)
  local found = {}
  for number, line in ipairs(lines) do
    if line:find("ptrace(" .. wanted .. ",", 1, true) then found[#found + 1] = number end
  end
  return found
end

local function tell(child)
  child:send "tell\n"
  return child:expect("tell (.-)%.", {pattern = true})
end

-- Vector registers that the kernel does not take back for want of memory come back by the signal frame.
do
  local bare <close> = t.target {"endurer", "1", preload = false, timeout = 20}
  local call = ("local p = assert(ulp.attach(%d)) assert(p:call 'getpid' == p.pid)"):format(bare.pid)
  local _, _, lines = run({"-e", "trace=ptrace"}, "-e", call)
  local hits = 0
  for _ = 1, 4 do
    local number = requests(lines, "PTRACE_SETREGSET")[1]
    local status, words, again = run(inject("ptrace", ("error=ENOMEM:when=%d"):format(number)), "-e", call)
    lines = again
    if (refused(again) or ""):find "SETREGSET" then
      hits = hits + 1
      t.eq(status, 0, "the call: " .. words)
    end
    t.unharmed(bare.pid)
  end
  t.ok(hits > 0, "the request was refused")
  t.ok(tell(bare):find "wrong=0 registers=0", "no register is lost")
end

-- One thread that cannot be traced: the others are let go, and no call of theirs has seen it.
do
  local many <close> = t.target {"endurer", "8", timeout = 30}
  local before = tell(many):match "eintr=%d+"
  local _, _, lines = run({"-e", "trace=ptrace"}, "trigger", "-p", tostring(many.pid), fix)
  local hits, numbers = 0, requests(lines, "PTRACE_SEIZE")
  for index = 2, #numbers, math.max(1, #numbers // 3) do
    local number = numbers[index]
    local _, _, again = run(inject("ptrace", ("error=EPERM:when=%d"):format(number)), "revert", "-p", tostring(many.pid), fix)
    if (refused(again) or ""):find "SEIZE" then hits = hits + 1 end
    t.unharmed(many.pid)
    t.insist(function() return ulp.trigger(many.pid, fix) end)
  end
  t.ok(hits > 0, "the request was refused")
  t.eq(tell(many):match "eintr=%d+", before, "calls that say EINTR")
end
t.unharmed(c.pid)
