/* tracer.h: a remote call as the tool makes it, in C and as short as possible. */
#ifndef TRACER_H
#define TRACER_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <elf.h>
#include <errno.h>
#include <pulp_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { XSAVE_MAX = 16384 };
/* After so many milliseconds something will never come: the machine may be busy, and leave a process alone for long. */
enum { PATIENCE = 180000 };

static bool peek(pid_t pid, uint64_t address, void *to, size_t size) {
  struct iovec local = {to, size}, remote = {(void *)address, size};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}
static bool poke(pid_t pid, uint64_t address, const void *from, size_t size) {
  struct iovec local = {(void *)from, size}, remote = {(void *)address, size};
  return process_vm_writev(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}
static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* SEIZE and INTERRUPT; signals met on the way are delivered. */
static bool stop_thread(pid_t tid) {
  int status;
  if (ptrace(PTRACE_INTERRUPT, tid, 0, 0)) return false;
  for (;;) {
    if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status)) return false;
    if (status >> 16 == PTRACE_EVENT_STOP) return true;
    ptrace(PTRACE_CONT, tid, 0, WSTOPSIG(status));
  }
}
static bool get_registers(pid_t tid, struct user_regs_struct *registers) {
  struct iovec vector = {registers, sizeof *registers};
  return !ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &vector);
}
static bool set_registers(pid_t tid, struct user_regs_struct *registers) {
  struct iovec vector = {registers, sizeof *registers};
  return !ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &vector);
}

/* What an interrupted system call needs so that it goes on after the frame was restored. */
static void restart_call(struct user_regs_struct *registers) {
  long result = (long)registers->rax, number = (long)registers->orig_rax;
  bool epoll = number == 232 || number == 281 || number == 441;
  if (number < 0) return;
  if (result == -516) registers->rax = 219; /* restart_syscall */
  else if ((result <= -512 && result >= -514) || (result == -EINTR && epoll)) registers->rax = registers->orig_rax;
  else return;
  registers->rip -= 2;
}

/* Writes the frame; returns its address, and the registers that begin the call. */
static uint64_t write_frame(pid_t pid, pid_t tid, const struct pulp_ext *ext, uint64_t function, const uint64_t *arguments,
                            uint64_t sequence, struct user_regs_struct *registers) {
  static uint8_t image[sizeof(struct pulp_call_frame) + XSAVE_MAX];
  struct pulp_call_frame *frame = (void *)image;
  struct user_regs_struct r;
  struct iovec xstate = {frame->xsave, XSAVE_MAX};
  if (!get_registers(tid, &r) || ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &xstate)) return 0;
  *registers = r;
  restart_call(&r);
  uint64_t exit_sp = r.rsp - 128 - 16, resume[2] = {r.eflags, r.rip};
  uint64_t address = (exit_sp - sizeof *frame - xstate.iov_len) & ~63ull;
  *frame = (struct pulp_call_frame){.rax = r.rax, .rbx = r.rbx, .rcx = r.rcx, .rdx = r.rdx, .rsi = r.rsi, .rdi = r.rdi,
    .rbp = r.rbp, .r8 = r.r8, .r9 = r.r9, .r10 = r.r10, .r11 = r.r11, .r12 = r.r12, .r13 = r.r13, .r14 = r.r14, .r15 = r.r15,
    .exit_sp = exit_sp, .function = function, .sequence = sequence};
  memcpy(frame->arguments, arguments, sizeof frame->arguments);
  if (ptrace(PTRACE_GETSIGMASK, tid, 8, &frame->sigmask)) return 0;
  if (!poke(pid, exit_sp, resume, sizeof resume) || !poke(pid, address, image, sizeof *frame + xstate.iov_len)) return 0;
  registers->rip = ext->call_entry;
  registers->rsp = ext->call_stack_top;
  registers->r12 = address;
  registers->eflags &= ~0x40500ull; /* AC, DF, TF */
  registers->orig_rax = -1;
  return address;
}
#endif
