/* unwind_test.c: the runtime's own unwinder beside glibc's backtrace(3), through frames of every kind, and what it does where
 * it cannot know: it says so. The stack is read by process_vm_readv, as bytes that may not be there.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../../runtime/runtime.h"
#include "tap.h"
#include <alloca.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

uint64_t pulp_peek(uint64_t address, void *to, uint64_t size) {
  struct iovec local = {to, size}, remote = {(void *)(uintptr_t)address, size};
  ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  return got < 0 ? 0 : (uint64_t)got;
}

enum { FRAME_MAX = 256 };
static struct walk {
  uint64_t addresses[FRAME_MAX];
  int count;
  enum pulp_unwind_step end;
} walk;

/* The caller's registers at a place that follows. */
#define CAPTURE(state, pc) \
  __asm__ volatile("mov %%rbx, 24(%1)\n\tmov %%rbp, 48(%1)\n\tmov %%rsp, 56(%1)\n\tmov %%r12, 96(%1)\n\tmov %%r13, 104(%1)\n\t" \
                   "mov %%r14, 112(%1)\n\tmov %%r15, 120(%1)\n\tlea 0(%%rip), %0" \
                   : "=&r"(pc) : "r"((state)->registers) : "memory")

static struct walk walk_from(struct pulp_unwind_state state, uint64_t pc) {
  struct walk found = {.count = 0};
  pulp_unwind_prepare();
  while (found.count < FRAME_MAX && (found.end = pulp_unwind_step(&state, pc)) == PULP_UNWIND_STEPPED) {
    pc = pulp_unwind_place(&state);
    found.addresses[found.count++] = state.registers[16];
  }
  return found;
}

/* Compares both ways from here; backtrace's first frame is this function. */
__attribute__((noinline)) static void compare(const char *what) {
  struct pulp_unwind_state state = {.known = 1u << 3 | 1u << 6 | 1u << 7 | 15u << 12};
  void *expected[FRAME_MAX];
  uint64_t pc;
  int count = backtrace(expected, FRAME_MAX), same = 0;
  CAPTURE(&state, pc);
  walk = walk_from(state, pc);
  while (same < walk.count && same + 1 < count && (uint64_t)(uintptr_t)expected[same + 1] == walk.addresses[same]) same++;
  ok(walk.end == PULP_UNWIND_ROOT && same == walk.count && walk.count >= count - 2 && walk.count > 1,
     "%s: %d frames, %d as backtrace's %d, end %d", what, walk.count, same, count, walk.end);
}

/* Frames with a frame pointer, of unknown size, with saved registers, aligned. */
static volatile int sink;
__attribute__((noinline)) static int with_alloca(int size) {
  volatile char *room = alloca((size_t)size);
  room[0] = 1;
  compare("a frame of unknown size");
  return room[0];
}
__attribute__((noinline)) static int with_registers(int a, int b, int c, int d, int e, int f) {
  int first = a * b, second = c * d, third = e * f, fourth = a * f, fifth = b * e;
  compare("a frame that saves registers");
  return first + second + third + fourth + fifth;
}
__attribute__((noinline)) static int with_alignment(void) {
  volatile char room[64] __attribute__((aligned(256)));
  room[0] = 1;
  compare("an aligned frame");
  return room[0];
}
__attribute__((noinline)) static int deep(int depth) {
  if (!depth) compare("a recursion");
  return depth ? deep(depth - 1) + 1 : sink;
}
static int by_callback(const void *a, const void *b) {
  static bool was_here;
  if (!was_here) compare("a callback of libc's");
  was_here = true;
  return *(const int *)a - *(const int *)b;
}
static void *in_thread(void *unused) {
  compare("another thread");
  return unused;
}

/* Frames that are written by hand. `probe_NAME` calls `look`. */
__attribute__((noinline, used)) static void look(void) {
  struct pulp_unwind_state state = {.known = 1u << 3 | 1u << 6 | 1u << 7 | 15u << 12};
  uint64_t pc;
  CAPTURE(&state, pc);
  walk = walk_from(state, pc);
}
#define PROBE(name, body) \
  void probe_##name(void); \
  __asm__(".text\n.globl probe_" #name "\n.type probe_" #name ", @function\nprobe_" #name ":\n.cfi_startproc\n" body \
          ".cfi_endproc\n.size probe_" #name ", . - probe_" #name "\n")
PROBE(plain, "sub $24, %rsp\n.cfi_adjust_cfa_offset 24\ncall look\nadd $24, %rsp\n.cfi_adjust_cfa_offset -24\nret\n");
PROBE(remember, "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_offset %rbx, -16\n.cfi_remember_state\ntest %esp, %esp\njne 1f\n"
      "pop %rbx\n.cfi_restore %rbx\n.cfi_adjust_cfa_offset -8\nret\n.cfi_restore_state\n1: call look\npop %rbx\n"
      ".cfi_restore %rbx\n.cfi_adjust_cfa_offset -8\nret\n");
PROBE(root, ".cfi_undefined %rip\nsub $8, %rsp\ncall look\nadd $8, %rsp\nret\n");
/* The place is rsp + 16, told by an expression: DW_CFA_def_cfa_expression, 2 bytes, DW_OP_breg7 16 */
PROBE(expression, "sub $8, %rsp\n.cfi_escape 0x0f, 2, 0x77, 16\ncall look\nadd $8, %rsp\nret\n");
PROBE(strange_return, "sub $8, %rsp\n.cfi_adjust_cfa_offset 8\n.cfi_escape 0x10, 16, 2, 0x77, 8\ncall look\nadd $8, %rsp\nret\n");
PROBE(vendor, "sub $8, %rsp\n.cfi_adjust_cfa_offset 8\n.cfi_escape 0x2d\ncall look\nadd $8, %rsp\nret\n");
PROBE(backwards, "sub $8, %rsp\n.cfi_def_cfa_offset -64\ncall look\nadd $8, %rsp\nret\n");
PROBE(unknown_register, "sub $8, %rsp\n.cfi_def_cfa %r10, 16\ncall look\nadd $8, %rsp\nret\n");
void probe_bare(void); /* no table at all */
__asm__(".text\n.globl probe_bare\n.type probe_bare, @function\nprobe_bare:\nsub $8, %rsp\ncall look\nadd $8, %rsp\nret\n");

static void by_hand(void (*probe)(void), enum pulp_unwind_step end, int least, int most, const char *what) {
  probe();
  ok(walk.end == end && walk.count >= least && walk.count <= most, "%s: %d frames, end %d", what, walk.count, walk.end);
}

static void on_signal(int number) {
  compare(number == SIGUSR1 ? "a handler" : "a handler on another stack");
}

/* Interrupted at its first instruction: what lies before it is another function. */
void interrupted(void);
__asm__(".text\n.globl interrupted\n.type interrupted, @function\ninterrupted:\n.cfi_startproc\nud2\nret\n.cfi_endproc\n"
        ".size interrupted, . - interrupted\n");
static void on_fault(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  compare("a fault at a function's first instruction");
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static ucontext_t outside, inside;
static void in_coroutine(void) { look(); }

static void elsewhere(void) {
  static char stack[65536] __attribute__((aligned(16)));
  getcontext(&inside);
  inside.uc_stack.ss_sp = stack, inside.uc_stack.ss_size = sizeof stack, inside.uc_link = &outside;
  makecontext(&inside, in_coroutine, 0);
  swapcontext(&outside, &inside);
  ok(walk.end != PULP_UNWIND_STEPPED && walk.count >= 1 && walk.count < 6, "a coroutine ends: %d frames, end %d", walk.count, walk.end);
  static char alternate[65536];
  sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = sizeof alternate}, NULL);
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
  sigaction(SIGUSR2, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_ONSTACK}, NULL);
  sigaction(SIGILL, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
  raise(SIGUSR1);
  raise(SIGUSR2);
  interrupted();
}

static void nonsense(void) {
  struct pulp_unwind_state state = {.known = 1u << 7, .registers[7] = 4096};
  char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct walk found = walk_from(state, 0);
  ok(found.end == PULP_UNWIND_UNKNOWN && !found.count, "a place without code");
  found = walk_from(state, (uintptr_t)page);
  ok(found.end == PULP_UNWIND_UNKNOWN && !found.count, "a place without a table");
  found = walk_from(state, (uintptr_t)compare + 1);
  ok(found.end == PULP_UNWIND_UNKNOWN && !found.count, "a stack that is not there");
  munmap(page + 4096, 4096);
  state.registers[7] = (uintptr_t)page + 4096 - 4;
  found = walk_from(state, (uintptr_t)compare);
  ok(found.end == PULP_UNWIND_UNKNOWN && !found.count, "half a word");
  state.registers[7] = (uintptr_t)page; /* zeros */
  found = walk_from(state, (uintptr_t)compare);
  ok(found.end == PULP_UNWIND_ZERO && !found.count, "a return address of 0");
  state = (struct pulp_unwind_state){.known = 0};
  found = walk_from(state, (uintptr_t)compare);
  ok(found.end == PULP_UNWIND_UNKNOWN && !found.count, "no known register");
}

int main(void) {
  pthread_t thread;
  int numbers[] = {3, 1, 2};
  compare("the first frame");
  sink += with_alloca(1000 + sink) + with_registers(1, 2, 3, 4, 5, 6) + with_alignment() + deep(40);
  qsort(numbers, 3, sizeof *numbers, by_callback);
  pthread_create(&thread, NULL, in_thread, NULL);
  pthread_join(thread, NULL);
  by_hand(probe_plain, PULP_UNWIND_ROOT, 3, 9, "a frame by hand");
  by_hand(probe_remember, PULP_UNWIND_ROOT, 3, 9, "rows that are remembered");
  by_hand(probe_root, PULP_UNWIND_ROOT, 1, 1, "an undefined return address is the end");
  by_hand(probe_expression, PULP_UNWIND_UNKNOWN, 1, 1, "a frame told by an expression");
  by_hand(probe_strange_return, PULP_UNWIND_UNKNOWN, 1, 1, "a return address told by an expression");
  by_hand(probe_vendor, PULP_UNWIND_UNKNOWN, 1, 1, "an instruction that is not known");
  by_hand(probe_backwards, PULP_UNWIND_UNKNOWN, 1, 1, "a frame that lies below");
  by_hand(probe_unknown_register, PULP_UNWIND_UNKNOWN, 1, 1, "a register that nobody has saved");
  by_hand(probe_bare, PULP_UNWIND_UNKNOWN, 1, 1, "a function without a table");
  elsewhere();
  nonsense();
  return done();
}
