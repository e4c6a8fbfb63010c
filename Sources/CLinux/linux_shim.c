#define _GNU_SOURCE
#include "linux_shim.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
#ifndef PTRACE_GET_SYSCALL_INFO
#define PTRACE_GET_SYSCALL_INFO 0x420e
#endif
#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif
#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

static uint64_t steps;
static uint64_t die_at = UINT64_MAX;

static void (*observer)(uint64_t);

uint64_t ul_step_count(void) { return steps; }

void ul_observe_steps(void (*observe)(uint64_t step)) { observer = observe; }

uint64_t ul_step(void) {
  if (die_at == UINT64_MAX) {
    const char *text = getenv("ULPSH_DIE_AT");
    die_at = text ? strtoull(text, NULL, 10) : 0;
  }
  steps++;
  if (observer) observer(steps);
  if (die_at != 0 && steps == die_at) kill(getpid(), SIGKILL);
  return steps;
}

static uint64_t touches;
uint64_t ul_touches(void) { return touches; }

static long request(long number, pid_t tid, void *address, void *data) {
  ul_step();
  touches++;
  long result = syscall(SYS_ptrace, number, tid, address, data);
  return result < 0 ? -errno : result;
}

long ul_seize(pid_t tid) { return request(PTRACE_SEIZE, tid, NULL, NULL); }
long ul_interrupt(pid_t tid) { return request(PTRACE_INTERRUPT, tid, NULL, NULL); }
long ul_listen(pid_t tid) { return request(PTRACE_LISTEN, tid, NULL, NULL); }

/* The thread whose seccomp filters are suspended, and where it is as long as it works for us. */
static struct {
  volatile pid_t tid;
  struct ul_workplace workplace;
} suspended;

long ul_suspend_seccomp(pid_t tid, struct ul_workplace workplace) {
  long result = request(PTRACE_SETOPTIONS, tid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP));
  if (result < 0) return result;
  suspended.workplace = workplace;
  suspended.tid = tid;
  return 0;
}

int ul_is_seccomp_suspended(pid_t tid) { return tid != 0 && suspended.tid == tid; }

void ul_restore_seccomp(pid_t tid) {
  if (!ul_is_seccomp_suspended(tid)) return;
  if (request(PTRACE_SETOPTIONS, tid, NULL, NULL) >= 0) suspended.tid = 0;
}

/* Whether a stopped thread goes on without its filters. The kernel reports a system call before it asks the filters
 * (seccomp(2), since Linux 4.8): the first call that the thread makes for itself meets them again. */
static int stays_suspended(pid_t tid) {
  struct user_regs_struct registers;
  if (!ul_is_seccomp_suspended(tid)) return 0;
  const struct ul_workplace *place = &suspended.workplace;
  if (request(PTRACE_GETREGS, tid, NULL, &registers) >= 0 &&
      ((registers.rip >= place->text_start && registers.rip < place->text_end) ||
       (registers.rsp > place->stack_bottom && registers.rsp <= place->stack_top)))
    return 1;
  ul_restore_seccomp(tid);
  return 0;
}

/* Before a stopped thread goes on: by the time it runs, its interrupted call must be one that it may make. */
static void spare_restart(pid_t tid) {
  struct user_regs_struct registers;
  if (syscall(SYS_ptrace, PTRACE_GETREGS, tid, NULL, &registers) >= 0 && ul_spare_restart(tid, &registers))
    ul_set_registers(tid, &registers);
}

long ul_continue(pid_t tid, int signal) {
  spare_restart(tid);
  return request(stays_suspended(tid) ? PTRACE_SYSCALL : PTRACE_CONT, tid, NULL, (void *)(long)signal);
}

long ul_continue_to_system_call(pid_t tid, int signal) {
  spare_restart(tid);
  ul_watch_wait(tid);
  if (!stays_suspended(tid)) {
    long result = request(PTRACE_SETOPTIONS, tid, NULL, (void *)PTRACE_O_TRACESYSGOOD);
    if (result < 0) return result;
  }
  return request(PTRACE_SYSCALL, tid, NULL, (void *)(long)signal);
}

/* Detaching takes all options back. */
long ul_detach(pid_t tid, int signal) {
  spare_restart(tid);
  return ul_detach_at_once(tid, signal);
}

long ul_detach_at_once(pid_t tid, int signal) {
  long result = request(PTRACE_DETACH, tid, NULL, (void *)(long)signal);
  if (ul_is_seccomp_suspended(tid)) suspended.tid = 0;
  return result;
}

static struct ul_workplace callee;
static uint64_t home_start, home_end;

void ul_set_callee(struct ul_workplace workplace, uint64_t start, uint64_t end) {
  callee = workplace;
  home_start = start;
  home_end = end;
}

/* On the stack that it was borrowed from, and not on its way back there. */
static int is_at_home(const struct ul_system_call *call) {
  uint64_t stack = call->stack_pointer, point = call->instruction_pointer;
  if (stack < home_start || stack >= home_end || (stack > callee.stack_bottom && stack <= callee.stack_top)) return 0;
  return point < callee.text_start || point > callee.text_end;
}

int ul_is_guarded_call(pid_t tid) {
  static const uint16_t guarded[] = {
    SYS_exit, SYS_exit_group, SYS_execve, SYS_execveat, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal,
  };
  struct ul_system_call call;
  if (ul_get_system_call(tid, &call) < 0 || !call.is_entry) return 0;
  for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
    if (call.number == guarded[i]) return 1;
  return is_at_home(&call);
}

long ul_get_registers(pid_t tid, struct user_regs_struct *registers) {
  return request(PTRACE_GETREGS, tid, NULL, registers);
}

long ul_set_registers(pid_t tid, const struct user_regs_struct *registers) {
  return request(PTRACE_SETREGS, tid, NULL, (void *)registers);
}

long ul_get_xstate(pid_t tid, void *buffer, size_t size) {
  struct iovec vector = {buffer, size};
  long result = request(PTRACE_GETREGSET, tid, (void *)(long)NT_X86_XSTATE, &vector);
  return result < 0 ? result : (long)vector.iov_len;
}

long ul_set_xstate(pid_t tid, const void *buffer, size_t size) {
  struct iovec vector = {(void *)buffer, size};
  return request(PTRACE_SETREGSET, tid, (void *)(long)NT_X86_XSTATE, &vector);
}

size_t ul_xsave_tiles(size_t *start) {
  unsigned size = 0, offset = 0, c, d;
  if (!__get_cpuid_count(0xd, 18, &size, &offset, &c, &d)) size = offset = 0;
  *start = offset;
  return size;
}

long ul_get_signal_mask(pid_t tid, uint64_t *mask) {
  return request(PTRACE_GETSIGMASK, tid, (void *)sizeof *mask, mask);
}

long ul_set_signal_mask(pid_t tid, uint64_t mask) {
  return request(PTRACE_SETSIGMASK, tid, (void *)sizeof mask, &mask);
}

long ul_get_rseq_registration(pid_t tid, struct ul_rseq_registration *registration) {
  *registration = (struct ul_rseq_registration){0};
  return request(PTRACE_GET_RSEQ_CONFIGURATION, tid, (void *)sizeof *registration, registration);
}

long ul_get_rseq_area(pid_t tid, uint64_t *address) {
  struct ul_rseq_registration registration;
  long result = ul_get_rseq_registration(tid, &registration);
  *address = result < 0 ? 0 : registration.address;
  return result < 0 ? result : 0;
}

int ul_get_dispatch_selector(pid_t tid, uint64_t *address) {
  struct { uint64_t mode, selector, offset, length; } config = {0}; /* struct ptrace_sud_config */
  *address = 0;
  if (request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, (void *)sizeof config, &config) < 0 || config.mode == 0) return 0;
  *address = config.selector;
  return 1;
}

long ul_get_robust_list(pid_t tid, uint64_t *head_and_size) {
  long result = syscall(SYS_get_robust_list, tid, &head_and_size[0], &head_and_size[1]);
  return result < 0 ? -errno : result;
}

long ul_get_pending_signals(pid_t tid, int shared, uint32_t *counts) {
  siginfo_t found[16];
  struct __ptrace_peeksiginfo_args window = {0, shared ? PTRACE_PEEKSIGINFO_SHARED : 0, 16};
  long count;
  for (int i = 0; i < UL_SIGNALS; i++) counts[i] = 0;
  while ((count = request(PTRACE_PEEKSIGINFO, tid, &window, found)) > 0) {
    for (long i = 0; i < count; i++)
      if (found[i].si_signo > 0 && found[i].si_signo < UL_SIGNALS) counts[found[i].si_signo]++;
    window.off += (uint64_t)count;
  }
  return count;
}

long ul_get_system_call(pid_t tid, struct ul_system_call *call) {
  struct { /* struct ptrace_syscall_info */
    uint8_t op, padding[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer;
    union {
      struct { uint64_t number, arguments[6]; } entry;
      struct { int64_t result; uint8_t is_error; } exit;
      uint8_t room[72];
    };
  } info = {0};
  *call = (struct ul_system_call){0};
  long result = request(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof info, &info);
  if (result < 0) return result;
  call->is_entry = info.op == 1; /* PTRACE_SYSCALL_INFO_ENTRY */
  call->is_exit = info.op == 2;
  call->instruction_pointer = info.instruction_pointer;
  call->stack_pointer = info.stack_pointer;
  if (call->is_entry) {
    call->number = info.entry.number;
    memcpy(call->arguments, info.entry.arguments, sizeof call->arguments);
  }
  if (call->is_exit) call->result = info.exit.result;
  return 0;
}

static int receipts;
int ul_receipts(void) { return receipts; }
void ul_set_receipts(int on) { receipts = on; }

long ul_get_signal_info(pid_t tid, int *number, int *code, uint64_t *address) {
  siginfo_t info;
  long result = request(PTRACE_GETSIGINFO, tid, NULL, &info);
  if (result < 0) return result;
  *number = info.si_signo;
  *code = info.si_code;
  *address = (uint64_t)(uintptr_t)info.si_addr;
  return 0;
}

long ul_poke(pid_t tid, uint64_t address, uint64_t word) {
  return request(PTRACE_POKEDATA, tid, (void *)address, (void *)word);
}

static void decode(int raw, struct ul_wait_status *status) {
  *status = (struct ul_wait_status){0};
  if (WIFSTOPPED(raw)) {
    status->kind = UL_WAIT_STOPPED;
    status->signal = WSTOPSIG(raw);
    status->event = WSTOPSIG(raw) == (SIGTRAP | 0x80) ? UL_EVENT_SYSTEM_CALL : (raw >> 16) & 0xff;
  } else if (WIFSIGNALED(raw)) {
    status->kind = UL_WAIT_KILLED;
    status->signal = WTERMSIG(raw);
  } else {
    status->kind = UL_WAIT_EXITED;
    status->exit_code = WEXITSTATUS(raw);
  }
}

/* Whether `tid` is a process that we started ourselves: then its end is also its parent's to collect. Reads
 * /proc/TID/status with async-signal-safe calls only. */
static int is_own_child(pid_t tid) {
  char text[2048];
  if (!ul_read_status(tid, text, sizeof text)) return 0;
  const char *group = strstr(text, "\nTgid:\t"), *parent = strstr(text, "\nPPid:\t");
  return group && parent && strtol(group + 7, NULL, 10) == tid && strtol(parent + 7, NULL, 10) == getpid();
}

static int is_requested_stop(const siginfo_t *info) {
  return info->si_code == CLD_TRAPPED && info->si_status == (SIGTRAP | PTRACE_EVENT_STOP << 8);
}

static long wait_for(pid_t tid, int block, int is_likely, int leave_requested, struct ul_wait_status *status) {
  int raw = 0;
  *status = (struct ul_wait_status){0};
  siginfo_t info = {0};
  /* In a world-stop most threads stand already when their turn to be waited for comes: a stop can be taken in one call. */
  if (block && is_likely && waitid(P_PID, (id_t)tid, &info, WSTOPPED | WNOHANG | __WALL) == 0 && info.si_pid != 0) {
    decode(W_STOPCODE(info.si_status), status);
    return tid;
  }
  /* Look first, without taking it: when tracer and parent are the same program, there is only one notice of the end. */
  info = (siginfo_t){0};
  if (waitid(P_PID, (id_t)tid, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL | (block ? 0 : WNOHANG)) < 0)
    return errno == EINTR && !block ? 0 : -errno; /* what says nothing of the thread must not look like its end */
  if (info.si_pid == 0) return 0;
  if (leave_requested && is_requested_stop(&info)) {
    *status = (struct ul_wait_status){.kind = UL_WAIT_STOPPED, .signal = SIGTRAP, .event = UL_EVENT_STOP};
    return tid;
  }
  if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED && is_own_child(tid)) {
    status->kind = info.si_code == CLD_EXITED ? UL_WAIT_EXITED : UL_WAIT_KILLED;
    if (info.si_code == CLD_EXITED) status->exit_code = info.si_status;
    else status->signal = info.si_status;
    return tid;
  }
  pid_t result = waitpid(tid, &raw, __WALL | WNOHANG);
  if (result < 0) return -errno;
  if (result == 0) return 0;
  decode(raw, status);
  return result;
}

long ul_wait(pid_t tid, int block, struct ul_wait_status *status) { return wait_for(tid, block, 1, 0, status); }

long ul_wait_leaving_stop(pid_t tid, int is_likely, struct ul_wait_status *status) { return wait_for(tid, 1, is_likely, 1, status); }

void ul_collect_stop(pid_t tid) {
  siginfo_t info;
  waitid(P_PID, (id_t)tid, &info, WSTOPPED | WNOHANG | __WALL);
}

long ul_vm_write(pid_t pid, const void *local, uint64_t remote, size_t count) {
  ul_step();
  struct iovec from = {(void *)local, count}, to = {(void *)remote, count};
  touches++;
  ssize_t result = process_vm_writev(pid, &from, 1, &to, 1, 0);
  return result < 0 ? -errno : result;
}

long ul_mem_write(int fd, const void *local, uint64_t remote, size_t count) {
  ul_step();
  touches++;
  ssize_t result = pwrite(fd, local, count, (off_t)remote);
  return result < 0 ? -errno : result;
}

pid_t ul_thread_id(void) { return (pid_t)syscall(SYS_gettid); }

int ul_has_pending_signal(pid_t tid) {
  uint64_t mask = 0;
  if (ul_get_signal_mask(tid, &mask) < 0) return 1;
  for (unsigned shared = 0; shared <= 1; shared++) {
    siginfo_t found[16];
    struct __ptrace_peeksiginfo_args window = {0, shared ? PTRACE_PEEKSIGINFO_SHARED : 0, 16};
    long count;
    while ((count = request(PTRACE_PEEKSIGINFO, tid, &window, found)) > 0) {
      for (long i = 0; i < count; i++)
        if (!(mask & (1ull << (found[i].si_signo - 1)))) return 1;
      window.off += (uint64_t)count;
    }
    if (count < 0) return 1;
  }
  return 0;
}
