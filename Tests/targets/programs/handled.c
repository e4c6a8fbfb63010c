/* Lives in a signal handler that never returns, as the children of a server do that forks them in its handler for SIGCHLD.
 *
 * It answers each "dozen". usage: handled forked | own | alternate | allocator
 *   forked: a child that the handler forked; own: the program itself, on the stack that the signal found it on;
 *   alternate: on an alternate signal stack; allocator: the signal found it in the allocator, by a fault in what that reads */
#define _GNU_SOURCE
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int dozen(void);

static const char *how;

static void serve(void) {
  char word[64];
  size_t length = 0;
  if (write(1, "ready\n", 6) != 6) _exit(3);
  for (char byte; read(0, &byte, 1) == 1;) {
    if (byte != '\n') {
      if (length < sizeof word - 1) word[length++] = byte;
      continue;
    }
    length = 0;
    char line[16] = "00\n";
    int number = dozen();
    line[0] = (char)('0' + number / 10);
    line[1] = (char)('0' + number % 10);
    if (write(1, line, 3) != 3) _exit(3);
  }
  _exit(0);
}

static void handle(int signal) {
  (void)signal;
  if (strcmp(how, "forked") != 0) serve();
  pid_t child = fork();
  if (child == 0) serve();
  waitpid(child, NULL, 0);
  _exit(0);
}

/* A block whose header cannot be read: free() ends in the handler while it looks at it. */
static void fault_in_allocator(void) {
  char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || mprotect(pages, 4096, PROT_NONE)) exit(2);
  void *volatile block = pages + 4096;
  free(block);
}

int main(int argc, char **argv) {
  static char alternate[65536];
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  struct sigaction action = {.sa_handler = handle};
  how = argc > 1 ? argv[1] : "own";
  if (strcmp(how, "alternate") == 0) {
    action.sa_flags = SA_ONSTACK;
    if (sigaltstack(&stack, NULL)) return 2;
  }
  if (sigaction(SIGUSR1, &action, NULL) || sigaction(SIGSEGV, &action, NULL)) return 2;
  if (strcmp(how, "allocator") == 0) fault_in_allocator();
  raise(SIGUSR1);
  return 0;
}
