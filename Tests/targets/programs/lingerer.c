/* "enter" sends a thread into the library, "leave" lets one out, and what the call returned is told. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int linger(int fd);

static int ends[2];

static void *visit(void *unused) {
  puts("entering");
  printf("left=%d\n", linger(ends[0]));
  return unused;
}

int main(void) {
  char word[64];
  pthread_t thread;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pipe(ends)) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "enter") == 0 && (pthread_create(&thread, NULL, visit, NULL) || pthread_detach(thread))) return 2;
    if (strcmp(word, "leave") == 0 && write(ends[1], "x", 1) != 1) return 2;
  }
  puts("bye");
  return 0;
}
