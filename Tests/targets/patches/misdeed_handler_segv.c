#include "misdeed.h"

/* The handler is called long after the crash. */
int handled;
static void handle(int number) { handled = number; }

static void misdeed(void) {
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  *nowhere = 1;
}
