/* suse_call.h: one call of an entry point of SUSE's, from the diversion of the thread to its int3; entry.S fills it. */
#ifndef PULP_ARCH_SUSE_CALL_H
#define PULP_ARCH_SUSE_CALL_H
#include <stddef.h>
#include <stdint.h>

struct pulp_suse_call {
  uint64_t (*body)(const struct pulp_suse_call *);
  uint64_t rax, rcx; /* as they were when the thread arrived */
  uint64_t rsp;      /* where the address of the entry's int3 lies; below it the registers, downwards from r15 */
  uint64_t mask;     /* the thread's signal mask; afterwards what it is to be */
  uint64_t xsave;    /* its vector state */
};

/* As in user_regs_struct (sys/user.h): r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi. */
enum { PULP_SUSE_REGISTERS = 15 };

_Static_assert(offsetof(struct pulp_suse_call, rsp) == 24, "entry.S");
_Static_assert(offsetof(struct pulp_suse_call, mask) == 32, "entry.S");
_Static_assert(offsetof(struct pulp_suse_call, xsave) == 40, "entry.S");

/* entry.S: calls `function` on another stack. */
uint64_t pulp_on_stack(uint64_t (*function)(void *), void *argument, uint64_t top);
/* suse_call.c: a call has begun and has not come to its end. */
extern uint8_t pulp_suse_unfinished;
uint64_t pulp_suse_serve(struct pulp_suse_call *call);
#endif
