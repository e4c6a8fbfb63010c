/* guest.c: the borrowed thread before and after code of a container has run on it, constructors and destructors below the
 * loader. What such code leaves to the program unasked is put back here, whether the tool lives or not:
 *
 * - an alternate signal stack, which as a rule lies in the container and goes with it: the next handler would run on nothing;
 * - the default action for SIGSEGV and its like, which the kernel sets when the code faults while it blocks or the program
 *   ignores that signal (signal(7)): the program's own handler would be lost;
 * - a child that it has forked and that comes back from here: it would go on with the work of the program's thread, a second
 *   time. That one ends.
 *
 * All of it takes system calls that filters may forbid (seccomp(2)), so the tool, which can read the filters, decides.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"
#include <signal.h>

PULP_RARE_CODE

enum { ENDED_HERE = 1, MASK_SIZE = 8 };

static const uint8_t faults[PULP_GUEST_FAULTS] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

static long action(int signal, const struct pulp_action *new, struct pulp_action *old) {
  return pulp_syscall(SYS_rt_sigaction, signal, (long)new, (long)old, MASK_SIZE, 0, 0);
}

void pulp_guest_enter(struct pulp_guest *guest, bool is_expected) {
  guest->process = 0;
  if (!is_expected) return;
  guest->process = pulp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
  guest->has_stack = !pulp_syscall(SYS_sigaltstack, 0, (long)&guest->stack, 0, 0, 0, 0);
  for (unsigned index = 0; index < PULP_GUEST_FAULTS; index++)
    if (action(faults[index], NULL, &guest->actions[index])) guest->actions[index].handler = 0;
}

/* A handler of the code's own stays, as any other action that it has set on purpose. */
static void restore_actions(const struct pulp_guest *guest) {
  struct pulp_action found;
  for (unsigned index = 0; index < PULP_GUEST_FAULTS; index++)
    if (guest->actions[index].handler && !action(faults[index], NULL, &found) && !found.handler)
      action(faults[index], &guest->actions[index], NULL);
}

/* sigaltstack(2) says EPERM on the stack itself; this one is the call stack. */
static void restore_stack(const struct pulp_guest *guest) {
  stack_t found;
  if (!guest->has_stack || pulp_syscall(SYS_sigaltstack, 0, (long)&found, 0, 0, 0, 0)) return;
  if (found.ss_sp == guest->stack.ss_sp && found.ss_size == guest->stack.ss_size && found.ss_flags == guest->stack.ss_flags) return;
  pulp_syscall(SYS_sigaltstack, (long)&guest->stack, 0, 0, 0, 0, 0);
}

void pulp_guest_leave(const struct pulp_guest *guest) {
  if (!guest->process) return;
  if (pulp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0) != guest->process)
    for (;;) pulp_syscall(SYS_exit_group, ENDED_HERE, 0, 0, 0, 0, 0);
  restore_actions(guest);
  restore_stack(guest);
}
