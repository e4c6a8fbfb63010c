#include "misdeed.h"

static void misdeed(void) {
  abort();
}
