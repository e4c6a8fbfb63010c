/* suse_call.c: ends a call of SUSE's tool. The tool takes any stop of the thread for the end and RAX then for the answer.
 * Signals were blocked meanwhile, or one of them would have ended the call in the middle of the loader. As soon as the
 * mask is back, a signal that came in the meantime stops the thread: the answer must be in RAX by then. rt_sigreturn puts
 * mask, vector state, answer and the address of the int3 in place at once.
 */
#include "../../runtime.h"

PULP_RARE_CODE
#ifdef __x86_64__
#include "syscall.h"
#include <sys/syscall.h>

enum { MAGIC_1 = 0x46505853, MAGIC_2 = 0x46505845 }; /* <asm/sigcontext.h> */
enum { UC_ALL = 7 };                                 /* UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
enum { SOFTWARE_RESERVED = 464, STATE_HEADER = 512, USER_CS = 0x33, USER_SS = 0x2b, FLAGS = 0x202 };

struct software_reserved { /* struct _fpx_sw_bytes */
  uint32_t magic, extended_size;
  uint64_t features;
  uint32_t size;
};

/* What entry.S blocks, as the kernel tells it: SIGKILL 9 and SIGSTOP 19 cannot be. */
static const uint64_t blocked_here =
  ~(1ull << 3 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 8 | 1ull << 10 | 1ull << 18 | 1ull << 30);

/* abort(3) lets its own signal through. */
static const uint64_t by_abort = 1ull << 5;

/* A call that was ended in its middle, by a fault in a constructor, left signals blocked: what the mask was before is
 * given back by the next one, unless the program has set another meanwhile. */
static uint64_t true_mask;
uint8_t pulp_suse_unfinished;

/* Of a state that is longer than the thread's own the kernel takes x87 and SSE, and forgets the rest. The processor's may be
 * longer, by AMX tiles, which are the last component (18) and which a thread has to ask for: without any they are left out. */
static uint32_t frame_size(const struct pulp_suse_call *call) {
  uint32_t size, start, component = 18, unused;
  __asm__("cpuid" : "=a"(size), "=b"(start), "+c"(component), "=d"(unused) : "0"(0xd));
  bool has_tiles = *(const uint64_t *)(uintptr_t)(call->xsave + STATE_HEADER) >> 18 & 1;
  return size && !has_tiles && start + size == call->xsave_size ? start : (uint32_t)call->xsave_size;
}

static void complete_xsave(const struct pulp_suse_call *call) {
  struct software_reserved *reserved = (void *)(uintptr_t)(call->xsave + SOFTWARE_RESERVED);
  uint32_t low, high, magic = MAGIC_2, size = frame_size(call);
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  *reserved = (struct software_reserved){.magic = MAGIC_1, .extended_size = size + 4,
    .features = (uint64_t)high << 32 | low, .size = size};
  pulp_copy((void *)(uintptr_t)(call->xsave + size), &magic, sizeof magic);
}

struct pulp_sigframe *pulp_suse_serve(struct pulp_suse_call *call) {
  struct pulp_sigframe *frame = &call->frame;
  if (!pulp_suse_unfinished || (call->mask | by_abort) != blocked_here) true_mask = call->mask;
  pulp_suse_unfinished = 1;
  uint64_t result = call->body(call);
  pulp_suse_unfinished = 0;
  complete_xsave(call);
  pulp_zero(frame, sizeof *frame);
  pulp_syscall(SYS_sigaltstack, 0, (long)&frame->stack_pointer, 0, 0, 0, 0); /* unchanged */
  frame->flags = UC_ALL;
  frame->rax = result;
  frame->rip = *(uint64_t *)(uintptr_t)call->rsp;
  frame->rsp = call->rsp + 8;
  frame->rflags = FLAGS;
  frame->cs = USER_CS;
  frame->ss = USER_SS;
  frame->fpstate = call->xsave;
  frame->mask = true_mask;
  return frame;
}
#endif
