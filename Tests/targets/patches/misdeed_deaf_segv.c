#include "misdeed.h"

/* The kernel takes a handler away when its signal is blocked and has to be delivered. */
static void misdeed(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  *nowhere = 1;
}
