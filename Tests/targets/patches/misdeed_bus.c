#include "misdeed.h"

static void misdeed(void) {
  int fd = memfd_create("short", MFD_CLOEXEC);
  char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  zero = *(volatile char *)page;
}
