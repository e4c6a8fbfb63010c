-- timeout: 90
-- The error numbers that SUSE's tool finds by itself or meets by accident: no runtime, a routine that seems not to have run, a
-- runtime without its call stack, a process that is traced; ulpsh refuses the same processes with codes of its own.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

-- 263: no runtime in the process
do
  local c <close> = t.target {"numserv", preload = false}
  suse.expect("ENOLIBPULP", "trigger", c.pid, fix)
  t.refused("runtime.missing", function() return ulp.trigger(c.pid, fix) end)
  c:ask("dozen", "12\n", {reject = "13"})
end

-- 269, 276, 257: seen before anything is stopped
do
  local c <close> = t.target {"caller", t.path "other/libdozens.so.0"}
  suse.expect("ENOMETA", "trigger", c.pid, t.path "dozens_13.so")
  suse.expect("ENOTARGETLIB", "trigger", c.pid, t.patch "version_1")
  suse.expect("EBUILDID", "trigger", c.pid, fix)
  t.refused("container.no_metadata", function() return ulp.trigger(c.pid, t.path "dozens_13.so") end)
  t.refused("target.not_loaded", function() return ulp.trigger(c.pid, t.patch "version_1") end)
  t.refused("target.build_id", function() return ulp.trigger(c.pid, fix) end)
  t.unharmed(c.pid)
end

-- 277: the main thread computes, and has in RAX the very number that the entry answers. The tool believes that nothing has run;
-- nothing was to be done in any case.
do
  local program = t.cc {kind = "program", as = "stubborn", libraries = {t.path "libdozens.so.0"}, code = [[
    #include <pthread.h>
    #include <stdio.h>
    int dozen(void);
    static void *answer(void *unused) {
      for (char line[80]; fgets(line, sizeof line, stdin); fflush(stdout)) printf("dozen=%d.\n", dozen());
      return unused;
    }
    int main(void) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, answer, NULL)) return 2;
      puts("ready");
      fflush(stdout);
      /* 280 stays in %rax; any other value ends the program. */
      __asm__ volatile("mov $280, %%eax\n1: cmp $280, %%rax\npause\nje 1b\nud2" ::: "rax", "cc");
    }
  ]]}
  local c <close> = t.target {program, timeout = 20}
  suse.run("disable", c.pid)
  for _ = 1, 3 do
    local found = suse.run("trigger", c.pid, fix)
    t.eq({found.name, found.rax}, {"EHOOKNOTRUN", 280}, found.text)
    t.ok(not found.text:find "queue version", "the queue is not looked at")
  end
  -- It has no such test here.
  t.eq(suse.run("revert-all", c.pid, "libdozens.so.0").name, "EUSRBLOCKED")
  t.refused("runtime.disabled", function() return ulp.trigger(c.pid, fix) end)
  suse.run("enable", c.pid)
  t.eq(suse.run("trigger", c.pid, fix).name, "ENONE", "a thread that computes")
  c:ask("?", "dozen=13.", {reject = "dozen=12"})
  t.state(ulp.revert(c.pid, fix, {timeout = 20}), "done")
  c:ask("?", "dozen=12.", {reject = "dozen=13"})
end

-- 282: there was no room for the call stack. The least memory in which the program starts has none.
do
  local function start(kib)
    local command = ('ulimit -v %d; LD_PRELOAD=$1 exec "$0"'):format(kib)
    local c = t.spawn {"/bin/sh", "-c", command, t.path "numserv", ulp.core.runtime_path, timeout = 20}
    local done = pcall(c.expect, c, "ready\n")
    if done then return c end
    c:close()
  end
  local low, high = 2000, 40000 -- it does not start, it does
  while high - low > 100 do
    local middle = (low + high) // 2
    local c = start(middle)
    if c then c:close() end
    if c then high = middle else low = middle end
  end
  local c <close> = t.ok(start(high), "the program runs")
  c:ask("dozen", "12\n")
  suse.expect("EINITFAIL", "trigger", c.pid, fix)
  suse.expect("EINITFAIL", "revert-all", c.pid, "libdozens.so.0")
  t.ok(not suse.applied(c, fix))
  local said = t.refused("runtime.corrupt", function() return ulp.trigger(c.pid, fix) end)
  t.ok(said.message:find "no call stack", said.message)
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

-- 258, 264: somebody else holds the process
do
  local c <close> = t.target "numserv"
  local strace <close> = t.spawn {"strace", "-qq", "-o", "/dev/null", "-p", tostring(c.pid)}
  local function tracer() return t.read_file(("/proc/%d/status"):format(c.pid)):match "TracerPid:%s*(%d+)" end
  t.wait_until(function() return tracer() ~= "0" end)
  t.ok(tracer() ~= "0", "strace holds it")
  suse.expect("ETARGETHOOK", "trigger", c.pid, fix)
  t.refused("process.traced", function() return ulp.trigger(c.pid, fix) end)
  strace:signal "TERM"
  t.ok(strace:wait(5), "strace has ended")
  c:ask("dozen", "12\n", {reject = "13"})
  suse.trigger(c, fix)
  c:ask("dozen", "13\n", {reject = "12"})
end

-- 286: a newer queue than the tool knows
do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  local queue = assert(p:symbol "__ulp_insn_queue")
  p:write(queue, string.pack("<I4", 2))
  suse.expect("EOLDULP", "trigger", c.pid, fix)
  c:ask("dozen", "12\n", {reject = "13"})
  p:write(queue, string.pack("<I4", 1))
  suse.trigger(c, fix)
  c:ask("dozen", "13\n", {reject = "12"})
end
