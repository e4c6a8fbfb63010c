#include "misdeed.h"

static void misdeed(void) {
  ((void (*volatile)(void))nowhere)();
}
