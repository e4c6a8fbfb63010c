#include "misdeed.h"

/* Opens another library, which stays. */
static void misdeed(void) {
  if (!dlopen("libm.so.6", RTLD_NOW)) abort();
}
