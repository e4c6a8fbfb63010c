/* linux_waits.c: waits that the kernel goes on with from notes of its own, and what is done when a callee takes these away. Called
 * from SIGCHLD's handler too: system calls and the stack only.
 *
 * The notes are one for each thread (struct restart_block, restart_syscall(2)). A borrowed thread whose callee sleeps loses
 * those of its own sleep, and would be told EINTR instead, or go on with the callee's. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>

void ul_take_rest(struct user_regs_struct *registers) {
  if (registers->orig_rax == SYS_nanosleep && registers->rsi) registers->rdi = registers->rsi;
  if (registers->orig_rax == SYS_clock_nanosleep && registers->r10) registers->rdx = registers->r10;
}

/* The number of the call whose `syscall` instruction is at `place`. Once the thread has gone on by restart_syscall(2), its code
 * still tells: the C library loads the number right before, and the arguments have not changed. */
static long awaited_call(pid_t tid, uint64_t place, long known) {
  unsigned char code[7]; /* mov $NUMBER,%eax; syscall */
  int number;
  if (ul_vm_read(tid, code, place - 5, sizeof code) != sizeof code || code[5] != 0x0f || code[6] != 0x05) return -1;
  if (known >= 0 && known != SYS_restart_syscall) return known;
  if (code[0] != 0xb8) return -1;
  memcpy(&number, code + 1, sizeof number);
  return number;
}

int ul_reissue_wait(pid_t tid, struct user_regs_struct *registers) {
  enum { ERESTART_RESTARTBLOCK = 516 };
  struct user_regs_struct next = *registers;
  /* Stopped a second time before it was back in its code, it is on its way into restart_syscall(2). */
  if ((long)next.rax == -ERESTART_RESTARTBLOCK && (long)next.orig_rax >= 0) next.rip -= 2;
  else if (next.rax != SYS_restart_syscall) return 0;
  long number = awaited_call(tid, next.rip, (long)next.orig_rax);
  if (number != SYS_nanosleep && number != SYS_clock_nanosleep && number != SYS_poll && number != SYS_futex) return 0;
  next.orig_rax = (unsigned long)number;
  ul_take_rest(&next);
  next.rax = next.orig_rax;
  next.orig_rax = (unsigned long)-1;
  *registers = next;
  return 1;
}

static struct {
  volatile pid_t tid;
  int is_lost, count;
  struct ul_word words[3];
} kept;

void ul_keep_wait(pid_t tid, const struct ul_word *words, int count) {
  kept.tid = 0;
  kept.is_lost = 0;
  kept.count = count;
  for (int i = 0; i < count; i++) kept.words[i] = words[i];
  kept.tid = tid;
}

int ul_is_wait_lost(pid_t tid) { return tid != 0 && kept.tid == tid && kept.is_lost; }

int ul_lost_word(pid_t tid, uint64_t address, uint64_t *value) {
  if (!ul_is_wait_lost(tid)) return 0;
  for (int i = 0; i < kept.count; i++)
    if (kept.words[i].address == address) {
      *value = kept.words[i].value;
      return 1;
    }
  return 0;
}

static int takes_notes(const struct ul_system_call *call) {
  switch (call->number) {
  case SYS_nanosleep: case SYS_clock_nanosleep: case SYS_poll: case SYS_restart_syscall: case SYS_rt_sigreturn: return 1;
  case SYS_futex: {
    int command = (int)call->arguments[1] & FUTEX_CMD_MASK;
    return (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) && call->arguments[3] != 0;
  }
  default: return 0;
  }
}

void ul_watch_wait(pid_t tid) {
  struct ul_system_call call;
  if (kept.tid != tid || kept.is_lost || ul_get_system_call(tid, &call) < 0 || !call.is_entry || !takes_notes(&call)) return;
  kept.is_lost = 1;
  for (int i = 0; i < kept.count; i++) ul_poke(tid, kept.words[i].address, kept.words[i].value);
}
