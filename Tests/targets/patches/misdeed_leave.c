#include "misdeed.h"

static void misdeed(void) {
  _exit(3);
}
