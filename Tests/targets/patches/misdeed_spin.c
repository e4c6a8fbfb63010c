#include "misdeed.h"

static void misdeed(void) {
  while (!nowhere) spins++;
}
