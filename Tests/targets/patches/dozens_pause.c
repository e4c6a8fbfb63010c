/* A constructor that takes a while and then has an effect that the replacement shows. */
#include <unistd.h>

static int ready;
__attribute__((constructor)) static void prepare(void) {
  usleep(400000);
  ready = 1;
}
int dozen_pause(void) { return ready ? 13 : 99; }
