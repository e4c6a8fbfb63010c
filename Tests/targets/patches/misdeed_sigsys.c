#include "misdeed.h"

static void misdeed(void) {
  raise(SIGSYS);
}
