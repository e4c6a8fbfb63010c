/* A function that waits in a part which the compiler has moved out of it. */
#include <unistd.h>

volatile int lingered;

__attribute__((cold, noinline)) static int rarely(int fd) {
  char byte;
  ssize_t count = read(fd, &byte, 1);
  return count == 1 ? 1 : -1;
}

/* The branch goes to linger.cold, and the call from there leaves no address of linger itself on the stack. */
int linger(int fd) {
  if (__builtin_expect(fd >= 0, 0)) {
    int result = rarely(fd);
    lingered++;
    return result;
  }
  return lingered++;
}
