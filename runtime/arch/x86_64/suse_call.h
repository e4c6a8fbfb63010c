/* suse_call.h: one call of an entry point of SUSE's, from the diversion of the thread to its int3. entry.S fills the first
 * part; the second is the kernel's rt_sigframe without siginfo (arch/x86/include/asm/sigframe.h), by which the answer, the
 * signal mask and the vector state are put in place in one step.
 */
#ifndef PULP_ARCH_SUSE_CALL_H
#define PULP_ARCH_SUSE_CALL_H
#include <stddef.h>
#include <stdint.h>

struct pulp_sigframe {
  uint64_t return_address; /* not used: nobody returns to it */
  uint64_t flags, link;
  uint64_t stack_pointer, stack_flags, stack_size; /* sigaltstack */
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  uint16_t cs, gs, fs, ss;
  uint64_t error, trap, old_mask, cr2;
  uint64_t fpstate;
  uint64_t reserved[8];
  uint64_t mask;
};

struct pulp_suse_call {
  uint64_t (*body)(const struct pulp_suse_call *);
  uint64_t rax, rcx; /* as they were when the thread arrived */
  uint64_t rsp;      /* where the address of the entry's int3 lies; below it r15, r14, r13, r12, rbp, rbx */
  uint64_t mask;     /* the thread's signal mask */
  uint64_t xsave, xsave_size;
  uint64_t reserved;
  struct pulp_sigframe frame;
};

_Static_assert(offsetof(struct pulp_suse_call, frame) == 64, "entry.S");
_Static_assert(offsetof(struct pulp_sigframe, fpstate) == 232, "the kernel's");
_Static_assert(sizeof(struct pulp_sigframe) == 312, "the kernel's");

/* entry.S: calls `function` on another stack. */
uint64_t pulp_on_stack(uint64_t (*function)(void *), void *argument, uint64_t top);
/* suse_call.c: a call has begun and has not come to its end. */
extern uint8_t pulp_suse_unfinished;
struct pulp_sigframe *pulp_suse_serve(struct pulp_suse_call *call);
#endif
