/* A thread waits below a function that is to be patched, and between the two is one without unwind information. Whoever
 * follows the frame pointer from there finds the thread's first function next, and misses the one in question.
 *
 * usage: gap [beside]: two threads wait that are not in the function, but have its address on their stacks */
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

static void *beside(void *unused) {
  int (*volatile pointer)(int (*)(void)) = gap;
  for (;;)
    if (without_information() == 1) printf("%d\n", pointer(getpagesize) - getpagesize());
  return unused;
}

int main(int argc, char **argv) {
  pthread_t thread, other;
  char word[64];
  (void)argv;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pipe(ends)) return 2;
  if (argc == 1 && pthread_create(&thread, NULL, body, NULL)) return 2;
  if (argc > 1 && (pthread_create(&thread, NULL, beside, NULL) || pthread_create(&other, NULL, beside, NULL))) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1)
    if (write(ends[1], "x", 1) != 1) return 2;
  return 0;
}
