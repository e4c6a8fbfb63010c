/* A function that a thread can be inside for as long as a test wants. */
#include <unistd.h>

int linger(int fd) {
  char byte;
  return read(fd, &byte, 1) == 1 ? 1 : -1;
}
