#include "misdeed.h"

static void misdeed(void) {
  for (;;) free(malloc(100 + spins++ % 1000));
}
