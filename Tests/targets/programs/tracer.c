/* Holds PID as a debugger would, without stopping it, until stdin ends. usage: tracer PID */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  if (argc != 2 || ptrace(PTRACE_SEIZE, atoi(argv[1]), 0, 0)) {
    perror("tracer");
    return 2;
  }
  puts("holding");
  while (getchar() != EOF) {}
  puts("bye");
  return 0;
}
