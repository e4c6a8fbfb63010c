/* linux_priority.c: how soon this program comes to a processor. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Changed by the handler below, too, which is kept off by whoever else changes them: a reason that came back by itself would be
 * one for good. */
static volatile int policy = -1, reasons;
static struct sched_param before;

static void keep_off(int begin) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPROF);
  sigprocmask(begin ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void calm_down(void) {
  if (reasons || policy < 0) return;
  /* Who may not take the flag back (RLIMIT_RTPRIO without CAP_SYS_NICE) keeps it: it lowers priorities only. */
  if (sched_setscheduler(0, policy, &before) < 0) sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &before);
  policy = -1;
}

static int become_urgent(void) {
  if (policy >= 0) return 1;
  struct sched_param wanted = {.sched_priority = 1};
  int found = sched_getscheduler(0);
  if (found < 0 || sched_getparam(0, &before) < 0) return 0;
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &wanted) < 0) return 0;
  policy = found;
  return 1;
}

int ul_urgent(int reason, int begin) {
  int is_urgent = 0;
  keep_off(1);
  if (begin) {
    reasons |= reason;
    is_urgent = become_urgent();
  } else {
    reasons &= ~reason;
    calm_down();
  }
  keep_off(0); /* whoever started us may have blocked the signal: then it would never come */
  return is_urgent;
}

/* The processor time of this thread that may still be spent in a hurry. */
static timer_t budget;
static int has_budget;

static void spent(int signal) {
  int error = errno;
  (void)signal;
  reasons &= ~UL_URGENT_CHANGE;
  calm_down();
  errno = error;
}

static int allow(long milliseconds) {
  if (!has_budget) {
    struct sigaction action = {.sa_handler = spent, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
    if (sigaction(SIGPROF, &action, NULL) < 0 || timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &budget) < 0) return 0;
    has_budget = 1;
  }
  struct itimerspec span = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000000}};
  return timer_settime(budget, 0, &span, NULL) == 0;
}

int ul_hasten(int begin) {
  static int hastened;
  int was = hastened;
  hastened = begin != 0;
  if (begin && !was) {
    if (!allow(1000) || !ul_urgent(UL_URGENT_CHANGE, 1)) ul_urgent(UL_URGENT_CHANGE, 0);
  } else if (!begin && was && !allow(10)) {
    ul_urgent(UL_URGENT_CHANGE, 0);
  }
  return was;
}

static int is_change(const char *word) {
  static const char *const changes[] = {"trigger", "revert", "replace", "recover"};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
    if (!strcmp(word, changes[i])) return 1;
  return 0;
}

/* Before the Swift runtime prepares itself, which takes longer than a process that has just started may run beside busy threads
 * until all of them have had their turns. A guess by the first words: main parses the command line and knows. */
__attribute__((constructor(101))) static void hasten_early(int count, char **words) {
  int at = 1;
  while (at < count && !strcmp(words[at], "--json")) at++;
  if (at < count && is_change(words[at])) ul_hasten(1);
}
