-- timeout: 180
-- slow
-- With `seccomp = "suspend"` every change is done under filters that forbid what it takes, and they are in force at all other
-- times; what a tool that died leaves is put in order in the same way; strict mode is refused in any case.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix, again = t.patch "dozens_13", t.patch("dozens_13", {as = "again"})
local suspend = {seccomp = "suspend", timeout = 20}

local function says(c, number)
  c:ask("tell", ("dozen=%d."):format(number), {reject = ("dozen=%d."):format(25 - number)})
end

local function mode(c) return t.read_file(("/proc/%d/status"):format(c.pid)):match "\nSeccomp:%s*(%d)" end

-- KILL for one call of those that a patch takes, or for a mapping with code.
for _, kind in ipairs {"lacks-openat", "lacks-munmap", "lacks-mprotect", "seccomp-exec"} do
  local c <close> = t.target {"hard", kind, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  says(c, 12)
  for _ = 1, 2 do
    t.refused("seccomp.forbidden", function() return ulp.trigger(p, fix) end)
    t.state(ulp.trigger(p, fix, suspend), "done", kind)
    says(c, 13)
    t.refused("seccomp.forbidden", function() return ulp.replace(p, "libdozens.so.0", again) end)
    t.state(ulp.replace(p, "libdozens.so.0", again, suspend), "done", kind .. ": replaced")
    says(c, 13)
    t.state(ulp.revert(p, again, suspend), "done", kind .. ": reverted")
    says(c, 12)
    t.unharmed(c.pid)
  end
  t.eq(mode(c), "2", "its filters")
end

--- A tool that applies under suspension and dies at its access number `place`, or after staging. Whether it lived.
local function apply(c, place)
  local tool <close> = t.ulpsh {
    "-e", ("print(ulp.trigger(ulp.attach(%d), %q, {seccomp = 'suspend', timeout = 20}).state)"):format(c.pid, fix),
    env = {ULPSH_DIE_AT = tostring(place)}, timeout = 30,
  }
  return t.ok(tool:wait(), "the tool ends").code == 0
end

local function stage_and_die(c)
  local tool <close> = t.ulpsh {
    "-e", ([[local p = ulp.attach(%d); local staged = p:runtime():stage(ulp.plan(p, %q), {seccomp = "suspend"})
      os.execute "kill -9 $PPID"; print(staged)]]):format(c.pid, fix), timeout = 30,
  }
  tool:expect_exit {signal = "KILL"}
end

-- Recovery takes what the change took.
do
  local c <close> = t.target {"hard", "lacks-munmap", timeout = 20}
  stage_and_die(c)
  t.unharmed(c.pid)
  local function recover(policy)
    local tool <close> = t.ulpsh {"recover", "--seccomp", policy, tostring(c.pid), timeout = 20}
    return t.ok(tool:wait(), "it ends").code, tool.transcript
  end
  local code, said = recover "check"
  t.ok(code == 1 and said:find "seccomp.forbidden", "not without: " .. said)
  says(c, 12)
  code, said = recover "suspend"
  t.ok(code == 0, "with: " .. said)
  says(c, 12)
  stage_and_die(c)
  local p <close> = assert(ulp.attach(c.pid))
  local result = ulp.trigger(p, fix, suspend)
  t.eq({result.state, result.recovered and result.recovered.state}, {"done", "staged"}, "over a staged one")
  says(c, 13)
  t.state(ulp.revert(p, fix, suspend), "done")
  says(c, 12)
  t.unharmed(c.pid)
end

-- Dead in the middle: the filters are back at once. One that gives an error makes loading fail, and nothing worse; one that ends
-- the program does so if the tool dies while the thread loads, and never else.
local function afterwards(c, where)
  t.unharmed(c.pid)
  c:send "tell\n"
  local number = c:expect("dozen=(%d+)%.", {pattern = true})
  t.ok(number == "12" or number == "13", where .. ": old or new")
  local p <close> = assert(ulp.attach(c.pid))
  local state = ulp.trigger(p, fix, suspend).state
  t.ok(state == "done" or state == "already", where .. ": the next one works: " .. state)
  says(c, 13)
  t.state(ulp.revert(p, fix, suspend), "done", where)
  says(c, 12)
end

--- How a program that is about to end has ended; nil if it goes on.
local function has_ended(c)
  t.sleep(0.03)
  return c:wait(0.02)
end

local total = 32
do
  local c <close> = t.target {"hard", "seccomp-open", timeout = 20}
  while not apply(c, total) do
    afterwards(c, "place " .. total)
    total = total * 2
    t.ok(total < 100000, "an apply comes to an end")
  end
end
for _, kind in ipairs {"seccomp-open", "lacks-openat"} do
  local places, died, ended = 24, 0, 0
  local c = t.target {"hard", kind, timeout = 20}
  for index = 1, places do
    local place = 1 + (index - 1) * total // places
    if not apply(c, place) then died = died + 1 end
    local exit = has_ended(c)
    if exit then
      t.eq({kind, exit}, {"lacks-openat", {signal = 31}}, "ended only by the filter that ends it")
      ended = ended + 1
      c = t.target {"hard", kind, timeout = 20}
    else
      afterwards(c, ("%s, place %d of %d"):format(kind, place, total))
    end
  end
  c:close()
  print(("%s: the tool died %d times, and the program ended %d times with it"):format(kind, died, ended))
  t.ok(died > places // 3, "the tool died in the middle")
  t.ok(ended < died, "and not always with harm")
end

-- Strict mode allows nothing but read, write and exit, not even the way back; and suspended it makes the loader's look at the
-- clock a fault.
do
  local c <close> = t.target {"hard", "seccomp-strict", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  for _, policy in ipairs {"check", "ignore", "suspend"} do
    local before = t.snapshot(c.pid)
    t.refused("seccomp.strict", function() return ulp.trigger(p, fix, {seccomp = policy}) end)
    t.unchanged(c.pid, before)
  end
  t.refused("seccomp.strict", function() return p:call("getpid") end)
  t.eq(mode(c), "1", "strict as before")
  c:send "\n" -- it reads on
  t.sleep(0.05)
  t.unharmed(c.pid)
  c:send_end()
  c:expect_exit(0)
end

-- One thread of several is another matter.
for _, policy in ipairs {"check", "ignore", "suspend"} do
  local c <close> = t.target {"hard", "strict-main", timeout = 20}
  t.wait_until(function() return mode(c) == "1" end)
  t.eq(mode(c), "1", "its first thread is strict")
  t.switches(c, fix, {old = 12, new = 13}, function(number) says(c, number) end, 2, {seccomp = policy})
  c:send_end()
  c:expect "bye"
end
