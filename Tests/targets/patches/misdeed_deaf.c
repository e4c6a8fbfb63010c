#include "misdeed.h"

/* Blocks every signal, and does not return. */
static void misdeed(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  while (!nowhere) spins++;
}
