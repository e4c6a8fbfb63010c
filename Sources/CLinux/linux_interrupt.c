#include "linux_interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested;
static volatile sig_atomic_t count;
static void (*volatile forward)(void);

static void on_sigint(int signal_number) {
  (void)signal_number;
  int saved = errno;
  requested = 1;
  if (count < 100)
    count = count + 1;
  if (forward)
    forward();
  errno = saved;
}

void ul_interrupt_install(void (*also)(void)) {
  struct sigaction action = {.sa_handler = on_sigint};
  sigemptyset(&action.sa_mask);
  forward = also;
  sigaction(SIGINT, &action, NULL);
}

void ul_interrupt_uninstall(void) {
  signal(SIGINT, SIG_DFL);
  forward = NULL;
}

int ul_interrupt_requested(void) { return requested; }

int ul_interrupt_take(void) {
  int was = requested;
  requested = 0;
  return was;
}

void ul_interrupt_reset(void) {
  requested = 0;
  count = 0;
}

int ul_interrupt_count(void) { return count; }
