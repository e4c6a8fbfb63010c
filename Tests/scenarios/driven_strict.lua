-- timeout: 60
-- A thread that strict seccomp has left read, write and nothing else is asked and told by SUSE's tool like any other; asked to
-- load something it answers "not now" before it makes a system call, and lives.
local t = require "ulp.scenario"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

do
  local c <close> = t.target {"hard", "seccomp-strict"}
  local function seccomp() return (t.read_file(("/proc/%d/status"):format(c.pid)):match "\nSeccomp:%s*(%d)") end
  t.wait_until(function() return seccomp() == "1" end)
  t.eq(seccomp(), "1", "strict mode")
  for _ = 1, 3 do
    t.eq(suse.applied(c, fix), false, "asked")
    t.eq(suse.run("disable", c.pid).text:match "state=(%d+)", "280", "switched off")
    t.eq(suse.run("enable", c.pid).text:match "state=(%d+)", "0", "switched on")
    for _, words in ipairs {{"trigger", c.pid, fix}, {"revert-all", c.pid, "libdozens.so.0"}} do
      local found = suse.run("-r", "3", table.unpack(words))
      t.eq({found.name, found.rax}, {"EAGAIN", 11}, found.text)
      t.ok(not found.text:find "instructions=[1-9]", "nothing is queued")
    end
    t.unharmed(c.pid)
  end
  t.eq(suse.list(c), "")
  t.unharmed(c.pid)
end

-- Under a filter that forbids what is writable and executable the rest goes on; a container that needs such memory is
-- refused by the filter, as SUSE's tool without --disable-seccomp would have it.
do
  local c <close> = t.target {"confined", "-", "errno"}
  local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end
  serves(12)
  for _ = 1, 3 do
    suse.trigger(c, fix)
    serves(13)
    suse.revert(c, fix)
    serves(12)
  end
  c:ask("map", "map=refused\n", {reject = "allowed"})
  t.unharmed(c.pid)
end

-- mprotect_patch: nothing may become executable later, on pain of death. Neither does the runtime ask for it, nor for writing
-- to code: that tool writes from outside. References to a variable and into a function are filled in.
do
  local program = t.cc {kind = "program", as = "sealed", libraries = {t.path "libsecret.so.0"}, code = [[
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <stddef.h>
    #include <stdio.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    int peek(void), blended(void);
    #define ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
    int main(void) {
      char line[80];
      enum { both = PROT_WRITE | PROT_EXEC };
      struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 2), ARGUMENT(2),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 4, 5),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 4), ARGUMENT(2), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, both),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, both, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      };
      struct sock_fprog filter = {sizeof code / sizeof *code, code};
      if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 2;
      for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) {
        if (*line == 'x') mprotect(main, 1, PROT_READ | PROT_EXEC);
        printf("peek=%d blended=%d.\n", peek(), blended());
      }
    }
  ]]}
  local secret = t.patch "secret_2"
  local c <close> = t.target {program}
  c:ask("?", "peek=40 blended=80.")
  for _ = 1, 3 do
    suse.trigger(c, secret)
    c:ask("?", "peek=1040 blended=1080.", {reject = {"peek=40", "blended=80"}})
    suse.revert(c, secret)
    c:ask("?", "peek=40 blended=80.", {reject = {"peek=1040", "blended=1080"}})
  end
  t.unharmed(c.pid)
  c:send "x\n"
  c:expect_exit {signal = 31}
end

-- PR_SET_MDWE, the kernel's own such rule.
do
  local c <close> = t.target {"hard", "mdwe"}
  suse.trigger(c, fix)
  c:ask("tell", "dozen=13.", {reject = "dozen=12"})
  suse.revert(c, fix)
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
end
