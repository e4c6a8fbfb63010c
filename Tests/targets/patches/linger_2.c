/* Waits like the old function, so that a thread can be inside the new one as well. */
#include <unistd.h>

int linger_2(int fd) {
  char byte;
  return read(fd, &byte, 1) == 1 ? 2 : -1;
}
