/* A thread waits below a function that is to be patched, and between the two is one without unwind information. Whoever
 * follows the frame pointer from there finds the thread's first function next, and misses the one in question. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

int gap(int (*)(void));
int without_information(void);

static int ends[2];

__asm__(".text\n.type without_information, @function\n"
        "without_information:\n\tsub $8, %rsp\n\tcall wait_here\n\tadd $8, %rsp\n\tret\n"
        ".size without_information, . - without_information");

__attribute__((noinline, used)) int wait_here(void) {
  char byte;
  return (int)read(ends[0], &byte, 1);
}

__attribute__((optimize("no-omit-frame-pointer"))) static void *body(void *unused) {
  for (;;) printf("%d\n", gap(without_information));
  return unused;
}

int main(void) {
  pthread_t thread;
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pipe(ends) || pthread_create(&thread, NULL, body, NULL)) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1)
    if (write(ends[1], "x", 1) != 1) return 2;
  return 0;
}
