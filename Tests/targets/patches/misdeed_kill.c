#include "misdeed.h"

static void misdeed(void) {
  kill(getpid(), SIGKILL);
}
