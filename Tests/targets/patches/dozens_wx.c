/* A patch whose constructor needs memory that is writable and executable. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

static void *memory;

__attribute__((constructor)) static void map(void) {
  memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
}

int dozen_wx(void) { return memory ? 13 : 12; }
