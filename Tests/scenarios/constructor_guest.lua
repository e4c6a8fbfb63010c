-- timeout: 60
-- What a constructor leaves unasked is taken back: an alternate signal stack on the borrowed thread, the default action in place
-- of the program's own handler for a fault, a child that returns into the program's work; and code whose handler is
-- installed stays loaded.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local function start(...)
  local c = t.target {timeout = 10, ...}
  return c, assert(ulp.attach(c.pid))
end
local function is_loaded(p, name)
  p:refresh()
  for _, library in ipairs(p.libs) do if library.name == name .. ".so" then return true end end
  return false
end

--- The alternate stack of the only thread: its address and whether it is disabled (SS_DISABLE is 2).
local function alternate_stack(p, room)
  t.eq(p:call("sigaltstack", {0, room}), 0)
  local place, flags = p:unpack(room, "<I8I4")
  return {place, flags & 2}
end

do
  local c <close>, p = start "numserv"
  local room = p:call("malloc", {64})
  local own = p:call("malloc", {65536})
  for _, stack in ipairs {{0, 2}, {own, 0}} do
    if stack[1] ~= 0 then
      p:write(room, string.pack("<I8I4I4I8", own, 0, 0, 65536))
      t.eq(p:call("sigaltstack", {room, 0}), 0, "the program's own stack is set")
    end
    t.eq(alternate_stack(p, room), stack, "before")
    local fix = t.patch "misdeed_altstack"
    t.state(ulp.trigger(p, fix, {unload = true}), "done")
    t.eq(alternate_stack(p, room), stack, "after a constructor that has set another one")
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, fix), "done")
    t.ok(not is_loaded(p, "misdeed_altstack"), "its stack is gone")
    t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_altstack_segv") end)
    t.eq(alternate_stack(p, room), stack, "after one that has crashed as well")
    c:ask("dozen", "12\n", {reject = "13"})
  end
  t.unharmed(c.pid)
end

-- The runtime does it, not the tool: that dies meanwhile.
do
  local c <close>, p = start "numserv"
  local room = p:call("malloc", {64})
  local slow = t.cc {as = "slow_stack.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_13"}, code = [[
    #include <signal.h>
    #include <stdlib.h>
    #include <sys/stat.h>
    #include <unistd.h>
    static char stack[65536];
    int dozen_13(void) { return 13; }
    __attribute__((constructor)) static void set(void) {
      stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
      if (sigaltstack(&other, NULL)) abort();
      for (int i = 0; i < 10; i++) usleep(50000);
    }]]}
  local tool <close> = t.ulpsh {"trigger", "-p", tostring(c.pid), slow}
  t.wait_until(function() return is_loaded(p, "slow_stack") end)
  tool:kill()
  t.ok(is_loaded(p, "slow_stack"), "it was being loaded")
  c:ask("dozen", "12\n", {reject = "13"})
  t.eq(p:runtime():recover().action, "undone", "what the tool left")
  t.ok(not is_loaded(p, "slow_stack"), "unloaded")
  t.eq(alternate_stack(p, room), {0, 2}, "the alternate stack")
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

-- A handler for SIGSEGV, as any address that is not the default: nothing is to reach it. And a program that ignores it.
do
  local c <close>, p = start "numserv"
  local function actions()
    local status = t.read_file(("/proc/%d/status"):format(c.pid))
    return {status:match "SigIgn:%s*(%x+)", status:match "SigCgt:%s*(%x+)"}
  end
  for _, handler in ipairs {p:symbol "abort", 1} do
    p:call("signal", {11, handler})
    local before = actions()
    local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_deaf_segv") end)
    t.eq({err.cause, err.signal, err.unloaded}, {"signal", 11, true})
    t.eq(actions(), before, "signal actions")
    t.eq(p:call("signal", {11, handler}), handler, "the very handler")
    t.unharmed(c.pid)
    c:ask("dozen", "12\n", {reject = "13"})
  end
end

-- A call that the program's filter traps: the program's handler is for its own calls.
do
  local c <close>, p = start("hard", "seccomp-trap")
  c:ask("trap", "trapped=1.")
  local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_forbidden") end)
  t.eq({err.cause, err.signal, err.constructor, err.unloaded}, {"signal", 31, "begin", true})
  c:ask("trap", "trapped=2.")
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "the next change works")
  c:ask("tell", "dozen=13.", {reject = "dozen=12"})
end

-- It takes system calls, which are asked for, and not made where nobody has looked whether they are allowed.
do
  local c <close>, p = start("hard", "allowed")
  local before = t.snapshot(c.pid)
  local late = t.patch "dozens_late" -- makes none of its own
  local said = t.refused("seccomp.forbidden", function() return ulp.trigger(p, late) end)
  t.eq(said.calls, {"getpid", "sigaltstack", "rt_sigaction"})
  t.unchanged(c.pid, before)
  for _, options in ipairs {{seccomp = "ignore"}, {seccomp = "suspend"}} do
    local done, result = pcall(ulp.trigger, p, late, options)
    if done then
      t.state(result, "done", options.seccomp)
      c:ask("tell", "dozen=13.", {reject = "dozen=12"})
      local left = t.state(ulp.revert(p, late, {seccomp = "ignore", unload = true}), "done", options.seccomp).containers[1]
      t.eq(left.state, "unloaded", options.seccomp)
    else
      t.eq(result.code, "seccomp.permission", options.seccomp)
    end
    c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  end
  t.unharmed(c.pid)
end

-- One process before, one after.
do
  local c <close>, p = start "numserv"
  local function processes()
    local found = 0
    for _, pid in ipairs(core.pids()) do
      local stat = io.open(("/proc/%d/stat"):format(pid)) -- others come and go
      local text = stat and stat:read "a"
      if stat then stat:close() end
      if text and text:match "^.*%) %a (%d+)" == tostring(c.pid) then found = found + 1 end
    end
    return found
  end
  local fix = t.patch "misdeed_fork_both"
  t.state(ulp.trigger(p, fix, {unload = true}), "done", "fork_both")
  local status = p:call("malloc", {4})
  t.ok(p:call("waitpid", {-1, status, 0}) > 0, "the child has ended by itself")
  t.eq(p:unpack(status, "<I4"), 1 << 8, "by exit status 1")
  t.eq(processes(), 0, "children")
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(p, fix), "done")
  c:ask("dozen", "12\n", {reject = "13"})
  c:send "quit\n"
  c:expect "bye\n"
  c:expect_exit(0)
end

-- Its handler may be called at any time, whatever was said of the time after a revert.
for _, unload in ipairs {"auto", true, false} do
  local c <close>, p = start "numserv"
  local options = {}
  if unload ~= "auto" then options.unload = unload end
  local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_handler_segv", options) end)
  t.eq(err.unloaded, false, "its code is still needed")
  t.ok(err.message:find "sigaction", "why: " .. err.message)
  t.ok(is_loaded(p, "misdeed_handler_segv"), "it is still there")
  t.eq(p:runtime():state(), "idle", "nothing is pending")
  c:signal "USR1"
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
  t.eq(p:runtime():recover().action, "none", "recovery leaves it alone")
  local fix = t.patch "dozens_13"
  t.state(ulp.trigger(p, fix), "done", "the next change works")
  t.ok(is_loaded(p, "misdeed_handler_segv"), "and leaves it alone, too")
  c:signal "USR1"
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(p, fix), "done")
  t.unharmed(c.pid)
end

-- It stays as well when nothing failed but the switch; and the next attempt uses it.
do
  local c <close>, p = start "numserv"
  local installs = t.cc {as = "installs.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_13"}, code = [[
    #include <signal.h>
    int handled;
    int dozen_13(void) { return 13 + handled; }
    static void handle(int number) { handled = number; }
    __attribute__((constructor)) static void install(void) {
      sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handle, .sa_flags = SA_RESTART}, 0);
    }]]}
  t.refused("switch.max_pause", function() return ulp.trigger(p, installs, {max_pause = "1us", timeout = 0.2}) end)
  t.eq({(p:runtime():state()), #ulp.patches(p)}, {"idle", 0}, "nothing is pending or in force")
  t.ok(is_loaded(p, "installs"), "its handler is installed")
  t.unharmed(c.pid)
  t.state(ulp.trigger(p, installs), "done", "the next attempt")
  c:ask("dozen", "13\n", {reject = "12"})
  c:signal "USR1"
  c:ask("dozen", "23\n", {reject = {"12", "13"}})
  t.state(ulp.revert(p, installs), "done")
  c:ask("dozen", "12\n", {reject = {"13", "23"}})
  c:signal "USR1"
  c:ask("dozen", "12\n", {reject = {"13", "23"}})
  t.unharmed(c.pid)
end
