#include "misdeed.h"

static void misdeed(void) {
  __builtin_trap();
}
