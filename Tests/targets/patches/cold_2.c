/* The new linger, for libcold. */
#include <unistd.h>

int linger_2(int fd) {
  char byte;
  return read(fd, &byte, 1) == 1 ? 2 : -1;
}
