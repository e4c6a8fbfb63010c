/* Waits for commands on a coroutine's stack of a few kilobytes, in the middle of memory that belongs to somebody else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

int dozen(void);

enum { stack_size = 2048, fence = 65536 };
static ucontext_t home, there;
static unsigned char *memory;
static char command[64];

/* Nothing here calls the C library but read(2): there is little room. */
static void wait_for_command(void) {
  for (;;) {
    size_t length = 0;
    while (length < sizeof command - 1 && read(0, command + length, 1) == 1 && command[length] != '\n') length++;
    command[length] = 0;
    swapcontext(&there, &home);
  }
}

static long damage(void) {
  long count = 0;
  for (size_t i = 0; i < fence; i++) count += (memory[i] != 0x5a) + (memory[fence + stack_size + i] != 0x5a);
  return count;
}

int main(void) {
  memory = malloc(2 * fence + stack_size);
  memset(memory, 0x5a, 2 * fence + stack_size);
  getcontext(&there);
  there.uc_stack.ss_sp = memory + fence;
  there.uc_stack.ss_size = stack_size;
  there.uc_link = &home;
  makecontext(&there, wait_for_command, 0);
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  for (;;) {
    swapcontext(&home, &there);
    if (!*command) return 0;
    if (!strcmp(command, "dozen")) printf("%d damage=%ld.\n", dozen(), damage());
  }
}
