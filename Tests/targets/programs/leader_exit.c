/* The main thread is gone, which leaves a zombie under the process's own number; a worker goes on serving. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int dozen(void);

static void *serve(void *unused) {
  char word[64];
  while (scanf("%63s", word) == 1) printf("%d\n", dozen());
  puts("bye");
  exit(0);
  return unused;
}

int main(void) {
  pthread_t worker;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pthread_create(&worker, NULL, serve, NULL)) return 2;
  puts("ready");
  pthread_exit(NULL);
}
