#include "misdeed.h"

/* Takes its own code away and is not there any more when that is done: munmap returns to the loader. */
static void misdeed(void) {
  munmap((void *)((uintptr_t)misdeed & ~4095ul), 4096);
}
