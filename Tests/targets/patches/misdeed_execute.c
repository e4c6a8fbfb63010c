#include "misdeed.h"

static void misdeed(void) {
  char *const arguments[] = {"/bin/true", NULL};
  execv("/bin/true", arguments);
}
