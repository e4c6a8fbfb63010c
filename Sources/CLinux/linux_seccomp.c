/* linux_seccomp.c: what a thread's filters say to a system call, and what is done about restart_syscall(2) where they forbid
 * it. Called from SIGCHLD's handler too: system calls and the stack only. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SCRATCH = BPF_MEMWORDS };

static uint32_t field(const struct seccomp_data *call, uint32_t offset) {
  uint32_t value = 0;
  if (offset <= sizeof *call - sizeof value) memcpy(&value, (const char *)call + offset, sizeof value);
  return value;
}

/* What the modes give that do not look at the call. */
static uint32_t constant(const struct sock_filter *now, const uint32_t *scratch) {
  switch (BPF_MODE(now->code)) {
  case BPF_MEM: return scratch[now->k % SCRATCH];
  case BPF_LEN: return sizeof(struct seccomp_data);
  default: return now->k;
  }
}

static uint32_t compute(unsigned operation, uint32_t left, uint32_t right) {
  switch (operation) {
  case BPF_ADD: return left + right;
  case BPF_SUB: return left - right;
  case BPF_MUL: return left * right;
  case BPF_DIV: return right ? left / right : 0;
  case BPF_OR: return left | right;
  case BPF_AND: return left & right;
  case BPF_LSH: return left << (right & 31);
  case BPF_RSH: return left >> (right & 31);
  case BPF_NEG: return -left;
  case BPF_MOD: return right ? left % right : 0;
  case BPF_XOR: return left ^ right;
  default: return left;
  }
}

static int holds(unsigned test, uint32_t left, uint32_t right) {
  switch (test) {
  case BPF_JEQ: return left == right;
  case BPF_JGT: return left > right;
  case BPF_JGE: return left >= right;
  case BPF_JSET: return (left & right) != 0;
  default: return 0;
  }
}

/* Programs only jump forwards, so this ends. */
uint32_t ul_seccomp_answer(const uint64_t *program, size_t count, uint32_t number, const uint64_t *arguments) {
  struct seccomp_data call = {.nr = (int)number, .arch = AUDIT_ARCH_X86_64};
  uint32_t a = 0, x = 0, scratch[SCRATCH] = {0};
  memcpy(call.args, arguments, sizeof call.args);
  for (size_t at = 0; at < count;) {
    struct sock_filter now;
    memcpy(&now, &program[at++], sizeof now);
    uint32_t operand = BPF_SRC(now.code) == BPF_X ? x : now.k;
    switch (BPF_CLASS(now.code)) {
    case BPF_LD: a = BPF_MODE(now.code) == BPF_ABS ? field(&call, now.k) : constant(&now, scratch); break;
    case BPF_LDX: x = constant(&now, scratch); break;
    case BPF_ST: scratch[now.k % SCRATCH] = a; break;
    case BPF_STX: scratch[now.k % SCRATCH] = x; break;
    case BPF_ALU: a = compute(BPF_OP(now.code), a, operand); break;
    case BPF_JMP: at += BPF_OP(now.code) == BPF_JA ? now.k : holds(BPF_OP(now.code), a, operand) ? now.jt : now.jf; break;
    case BPF_RET: return BPF_RVAL(now.code) == BPF_A ? a : now.k;
    default: if (BPF_MISCOP(now.code) == BPF_TXA) a = x; else x = a;
    }
  }
  return SECCOMP_RET_KILL_THREAD;
}

int ul_seccomp_allows(uint32_t answer) {
  uint32_t action = answer & SECCOMP_RET_ACTION_FULL;
  return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

/* Whether /proc/TID/status says that the thread has filters. */
static int has_filters(pid_t tid) {
  char text[4096];
  if (!ul_read_status(tid, text, sizeof text)) return 1;
  const char *mode = strstr(text, "\nSeccomp:\t");
  return mode && mode[10] != '0';
}

static long get_filter(pid_t tid, unsigned index, void *buffer) {
  long count = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)(unsigned long)index, buffer);
  return count < 0 ? -errno : count;
}

long ul_get_seccomp_filter(pid_t tid, unsigned index, void *buffer, size_t capacity) {
  long count = get_filter(tid, index, NULL);
  if (count < 0) return count;
  if ((size_t)count > capacity) return -E2BIG;
  return get_filter(tid, index, buffer);
}

/* A kernel that cannot give filters away says the same of every thread as another does of one without: EINVAL. The file
 * comes with the same option, CONFIG_CHECKPOINT_RESTORE. */
static int kernel_gives_filters(void) {
  static int answer = -1;
  if (answer < 0) answer = access("/proc/sys/kernel/ns_last_pid", F_OK) == 0;
  return answer;
}

/* What cannot be read counts as forbidding: a call too many is harmless, and a dead process is not. */
static int may_call_restart(pid_t tid) {
  static const uint64_t none[6];
  uint64_t program[BPF_MAXINSNS];
  for (unsigned index = 0;; index++) {
    long count = ul_get_seccomp_filter(tid, index, program, BPF_MAXINSNS);
    if (count == -ENOENT || (count == -EINVAL && kernel_gives_filters())) return 1;
    if (count < 0) return !has_filters(tid);
    if (!ul_seccomp_allows(ul_seccomp_answer(program, (size_t)count, SYS_restart_syscall, none))) return 0;
  }
}

int ul_spare_restart(pid_t tid, struct user_regs_struct *registers) {
  enum { ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };
  if ((long)registers->rax != -ERESTART_RESTARTBLOCK || (long)registers->orig_rax < 0) return 0;
  /* It has been let into it once; what it goes on with is nowhere to be read. */
  if (registers->orig_rax == SYS_restart_syscall || may_call_restart(tid)) return 0;
  ul_take_rest(registers);
  registers->rax = (unsigned long)-ERESTARTNOHAND;
  return 1;
}
