-- timeout: 240
-- SUSE's tool diverts a main thread that computes. Where it was, the tool's own memory tells: in the program's own code it is
-- patched at the first attempt, whatever it has in registers and below its stack pointer; in the allocator, the loader, in fork
-- or a handler on top of those it is told "not now", and never waits for itself.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"
local timeout = 30

local program = t.cc {kind = "program", as = "computing", libraries = {t.path "libdozens.so.0"}, code = [[
  #define _GNU_SOURCE
  #include <dlfcn.h>
  #include <malloc.h>
  #include <pthread.h>
  #include <signal.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <string.h>
  #include <sys/time.h>
  #include <sys/wait.h>
  #include <unistd.h>
  int dozen(void);
  static volatile long spoiled, rounds, handled;
  static const char *what;

  /* Numbers below %rsp (psABI 3.2.2), in general, xmm and ymm registers: 1 if one of them is another after a while. */
  long spin(long turns);
  __asm__(".text\n.globl spin\n.type spin, @function\nspin:\n.cfi_startproc\n"
    "mov $-128, %rcx\n1: mov %rcx, (%rsp,%rcx)\nadd $8, %rcx\njnz 1b\n"
    "mov %rdi, %r8\nmov %rdi, %r9\nmov %rdi, %r10\nmov %rdi, %r11\nmov %rdi, %rsi\nmov %rdi, %rdx\n"
    "movq %rdi, %xmm0\nmovq %rdi, %xmm9\n2: dec %rdi\njnz 2b\n"
    "xor %eax, %eax\ncmp %r8, %r9\njne 6f\ncmp %r10, %r11\njne 6f\ncmp %r8, %r10\njne 6f\ncmp %rsi, %rdx\njne 6f\n"
    "cmp %rsi, %r8\njne 6f\nmov $-128, %rcx\n3: cmp %rcx, (%rsp,%rcx)\njne 6f\nadd $8, %rcx\njnz 3b\n"
    "movq %xmm0, %rcx\nmovq %xmm9, %rdx\ncmp %rcx, %rdx\njne 6f\nret\n6: mov $1, %eax\nret\n.cfi_endproc\n.size spin, . - spin");

  static void on_alarm(int number) { spoiled += spin(3000), handled += number; }
  static void *answer(void *unused) {
    for (char line[80]; fgets(line, sizeof line, stdin);) {
      long from = rounds;
      while (rounds < from + 2) usleep(100);
      printf("spoiled=%ld dozen=%d.\n", spoiled, dozen());
      fflush(stdout);
    }
    _exit(0);
    return unused;
  }
  static void allocate(void) {
    static unsigned char *blocks[64];
    static size_t sizes[64];
    static unsigned at, random = 1;
    random = random * 1103515245 + 12345;
    at = random >> 16 & 63;
    for (size_t i = 0; i < sizes[at]; i += 97) spoiled += blocks[at][i] != (unsigned char)at;
    free(blocks[at]);
    sizes[at] = (random >> 22 & 1023) * (random >> 30 ? 1 : 200);
    blocks[at] = malloc(sizes[at]);
    memset(blocks[at], (int)at, sizes[at]);
  }
  static void work(void) {
    if (!strcmp(what, "malloc")) {
      for (int i = 0; i < 100; i++) allocate();
    } else if (!strcmp(what, "dlopen")) {
      void *handle = dlopen("libm.so.6", RTLD_NOW), *symbol = handle ? dlsym(handle, "sin") : NULL;
      spoiled += !symbol || dlclose(handle);
    } else if (!strcmp(what, "trim")) {
      for (int i = 0; i < 10; i++) allocate();
      malloc_trim(0);
    } else if (!strcmp(what, "fork")) {
      int status = 1;
      pid_t child = fork();
      if (!child) _exit(0);
      spoiled += waitpid(child, &status, 0) != child || status;
    }
  }
  int main(int argc, char **argv) {
    pthread_t thread;
    sigset_t set;
    struct itimerval often = {{0, 5000}, {0, 5000}};
    what = argv[argc - 2];
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, answer, NULL)) return 2;
    if (!strcmp(argv[argc - 1], "handled")) {
      pthread_sigmask(SIG_UNBLOCK, &set, NULL);
      sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm, .sa_flags = SA_RESTART}, NULL);
      setitimer(ITIMER_REAL, &often, NULL);
    }
    puts("ready");
    fflush(stdout);
    for (long turns = strcmp(what, "spin") ? 20000 : 1000000;; rounds++) {
      work();
      spoiled += spin(turns);
    }
  }
]]}

local function look(c, dozen)
  c:ask("?", ("spoiled=0 dozen=%d."):format(dozen), {reject = "dozen=" .. 25 - dozen})
  t.unharmed(c.pid)
end

-- redzone: one attempt is enough.
do
  local c <close> = t.target {program, "spin", "plain", timeout = timeout}
  look(c, 12)
  for _ = 1, 32 do t.eq(suse.applied(c, fix), false) end
  for _ = 1, 20 do
    local found = suse.run("trigger", c.pid, fix)
    t.eq(found.name, "ENONE", found.text .. suse.run("messages", c.pid).text)
    t.ok(suse.applied(c, fix), "check")
    look(c, 13)
    t.eq(suse.run("--revert", "trigger", c.pid, fix).name, "ENONE")
    look(c, 12)
  end
end

-- In the middle of what must not be entered again. Each of these is left again and again: some attempts succeed.
for _, what in ipairs {"malloc", "dlopen", "trim", "fork"} do
  for _, how in ipairs {"plain", "handled"} do
    local c <close> = t.target {program, what, how, timeout = timeout}
    local counts, is_applied, has_signals = {ENONE = 0, EAGAIN = 0}, false, how == "handled" or what == "fork"
    local deadline, tries = t.clock() + 5, 0
    while tries < 40 and t.clock() < deadline or counts.ENONE < 2 and tries < 2000 do
      tries = tries + 1
      local found = is_applied and suse.run("--revert", "trigger", c.pid, fix) or suse.run("trigger", c.pid, fix)
      -- That tool reads the list of libraries while it changes, and may give up before it has asked. A signal before the
      -- entry has blocked it, or after, ends the call for that tool, whatever RAX is then: ask ulpsh.
      -- One that is met instead of that tool's own SIGSTOP leaves that to stop the program for good.
      if has_signals then c:signal "CONT" end
      local is_now = ulp.check(c.pid, fix).applied
      t.ok(counts[found.name] or not found.rax or has_signals and not found.text:find "at=int3", what .. ": " .. found.text)
      if not has_signals then t.eq(found.name == "ENONE", is_now ~= is_applied, "what the tool was told") end
      local name = is_now ~= is_applied and "ENONE" or "EAGAIN"
      counts[name], is_applied = counts[name] + 1, is_now
      if found.name == "EAGAIN" then t.ok(not found.text:find "instructions=[2-9]", "nothing is armed") end
      if tries % 10 == 0 then look(c, is_applied and 13 or 12) end
    end
    look(c, is_applied and 13 or 12)
    t.ok(counts.ENONE >= 2, ("%s, %s: %d attempts, all refused"):format(what, how, tries))
  end
end

-- The kernel does not show the tool's memory to another user: not known, "not now", and ulpsh can.
do
  if t.read_file "/proc/self/status":match "\nUid:%s+(%d+)" == "0" then
    local other = {"setpriv", "--reuid=65534", "--clear-groups"}
    local probe <close> = t.spawn {other[1], other[2], other[3], "test", "-x", program}
    local exit = probe:wait()
    if not exit or exit.code ~= 0 then t.skip "another user cannot reach the program under test" end
    local c <close> = t.spawn {
      other[1], other[2], other[3], program, "spin", "plain", timeout = timeout,
      env = {LD_PRELOAD = ulp.core.runtime_path},
    }
    c:expect "ready\n"
    for _ = 1, 5 do
      t.eq(suse.run("trigger", c.pid, fix).name, "EAGAIN")
      look(c, 12)
    end
    t.ok(suse.run("messages", c.pid).text:find("computes, and the tool's memory cannot be asked", 1, true), "the reason")
    t.state(ulp.trigger(c.pid, fix, {timeout = 20}), "done", "ulpsh asks nobody")
    look(c, 13)
  end
end
