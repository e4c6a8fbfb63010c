/* linux_priority.c: how soon this program comes to a processor. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

int ul_urgent(int reason, int begin) {
  static int policy = -1, reasons;
  static struct sched_param before;
  if (!begin) {
    reasons &= ~reason;
    if (!reasons && policy >= 0) {
      /* Who may not take the flag back (RLIMIT_RTPRIO without CAP_SYS_NICE) keeps it: it lowers priorities only. */
      if (sched_setscheduler(0, policy, &before) < 0) sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &before);
      policy = -1;
    }
    return 0;
  }
  reasons |= reason;
  if (policy >= 0) return 1;
  struct sched_param wanted = {.sched_priority = 1};
  int found = sched_getscheduler(0);
  if (found < 0 || sched_getparam(0, &before) < 0) return 0;
  /* Children started meanwhile (none are) would not inherit it. */
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &wanted) < 0) return 0;
  policy = found;
  return 1;
}

/* As linux/sched/types.h has it; glibc 2.36 has neither the structure nor the calls. */
struct attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

int ul_hasten(int begin) {
  enum { RESET_ON_FORK = 1 };
  static int hastened;
  static struct attributes before;
  int was = hastened;
  if (!begin == !was) return was;
  if (begin) {
    struct attributes wanted = {.size = sizeof wanted};
    if (syscall(SYS_sched_getattr, 0, &wanted, sizeof wanted, 0) < 0 || (wanted.policy != SCHED_OTHER && wanted.policy != SCHED_BATCH))
      return was;
    before = wanted;
    wanted.nice = -20;
    wanted.flags |= RESET_ON_FORK;
    hastened = syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
    return was;
  }
  if (syscall(SYS_sched_setattr, 0, &before, 0) < 0) {
    before.flags |= RESET_ON_FORK;
    syscall(SYS_sched_setattr, 0, &before, 0);
  }
  hastened = 0;
  return was;
}
