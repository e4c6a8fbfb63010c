#include "misdeed.h"

static void misdeed(void) {
  *nowhere = 1;
}
