/* A patch whose constructor takes half a second. */
#include <unistd.h>
int dozens_13(void) { return 13; }
__attribute__((constructor)) static void begin(void) { usleep(500000); }
