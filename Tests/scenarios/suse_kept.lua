-- timeout: 90
-- On SUSE's runtime, too, nobody loses anything: busy threads keep every register, the vector unit's as well, handled signals
-- are all counted, waits go on, and a computing main thread keeps its red zone; SUSE's own tool spoils each of these.
local t = require "ulp.scenario"
local ulp = require "ulp"

local theirs = t.path "suse/libpulp.so"
local dozens = t.patch "dozens_13"

do
  local c <close> = t.target {"threads", "3", preload = theirs, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local function tell(dozen) c:ask("tell", ("wrong=0 registers=0 idle=%%d+ dozen=%d%%."):format(dozen), {pattern = true}) end
  tell(12)
  for _ = 1, 10 do
    t.state(ulp.trigger(p, dozens, {timeout = 20}), "done")
    tell(13)
    t.state(ulp.revert(p, dozens, {timeout = 20}), "done")
    tell(12)
    t.eq({p:runtime():state(), p:runtime():error_state()}, {"idle", 0})
  end
  t.unharmed(c.pid)
end

-- A single thread that computes in red zone and vector registers, and takes a signal every few milliseconds.
do
  local program = t.cc {kind = "program", as = "single", libraries = {t.path "libdozens.so.0"}, code = [[
    #include <poll.h>
    #include <signal.h>
    #include <stdio.h>
    #include <unistd.h>
    int dozen(void);
    static volatile sig_atomic_t handled;
    static void on_signal(int number) { handled += number == SIGUSR1; }
    long spin(long turns);
    __asm__(".text\n.globl spin\n.type spin, @function\nspin:\n.cfi_startproc\n"
      "mov $-128, %rcx\n1: mov %rcx, (%rsp,%rcx)\nadd $8, %rcx\njnz 1b\n"
      "movq %rdi, %xmm0\nmovq %rdi, %xmm9\n2: dec %rdi\njnz 2b\n"
      "mov $-128, %rcx\nxor %eax, %eax\n3: cmp %rcx, (%rsp,%rcx)\nje 4f\nmov $1, %eax\n4: add $8, %rcx\njnz 3b\n"
      "movq %xmm0, %rcx\nmovq %xmm9, %rdx\ncmp %rcx, %rdx\nje 5f\nmov $1, %eax\n5: ret\n.cfi_endproc\n.size spin, . - spin\n");
    int main(void) {
      char byte;
      long spoiled = 0;
      struct pollfd input = {0, POLLIN, 0};
      sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
      setvbuf(stdout, NULL, _IONBF, 0);
      for (puts("ready");; spoiled += spin(100000))
        if (poll(&input, 1, 0) == 1) {
          if (read(0, &byte, 1) != 1) return 0;
          if (byte == '?') printf("spoiled=%ld handled=%d dozen=%d.\n", spoiled, (int)handled, dozen());
        }
    }
  ]]}
  local c <close> = t.target {program, preload = theirs, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local sent = 0
  local function shows(dozen)
    c:signal "USR1"
    sent = sent + 1
    t.sleep(0.02) -- one at a time: equal signals that wait are one
    c:ask("?", ("spoiled=0 handled=%d dozen=%d.\n"):format(sent, dozen), {reject = "dozen=" .. 25 - dozen})
    t.unharmed(c.pid)
  end
  shows(12)
  for _ = 1, 8 do
    t.state(ulp.trigger(p, dozens, {timeout = 20}), "done")
    shows(13)
    t.state(ulp.revert(p, dozens, {timeout = 20}), "done")
    shows(12)
  end
end
