#include "misdeed.h"

static void misdeed(void) {
  zero = spins / zero;
}
