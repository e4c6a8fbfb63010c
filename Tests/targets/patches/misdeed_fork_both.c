#include "misdeed.h"

/* Two processes return from here: the child would go on as a second program. */
int child;

static void misdeed(void) {
  child = fork();
}
