/* Threads that hold the allocator's or the loader's lock most of the time: borrowing one of them at the wrong moment for
 * loading a patch would deadlock. usage: churn malloc|dlopen|both|trim [THREADS] */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int dozen(void);

static _Atomic long rounds, failures;

static void *allocate(void *argument) {
  for (unsigned n = (unsigned)(intptr_t)argument;; n = n * 1664525 + 1013904223) {
    char *block = malloc(16 + n % 4000);
    if (!block) failures++;
    else block[0] = (char)n, block = realloc(block, 16 + n % 70000);
    free(block);
    rounds++;
  }
  return NULL;
}

static void *load(void *unused) {
  for (;;) {
    void *library = dlopen("libutil.so.1", RTLD_NOW);
    if (!library || dlclose(library)) failures++;
    rounds++;
  }
  return unused;
}

static void *trim(void *unused) {
  for (;;) {
    malloc_trim(0);
    rounds++;
  }
  return unused;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "malloc";
  int count = argc > 2 ? atoi(argv[2]) : 4;
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    int loads = strcmp(what, "dlopen") == 0 || (strcmp(what, "both") == 0 && i % 2);
    if (pthread_create(&thread, NULL, strcmp(what, "trim") == 0 ? trim : loads ? load : allocate, (void *)(intptr_t)i)) return 2;
  }
  puts("ready");
  while (scanf("%63s", word) == 1) printf("rounds=%ld failures=%ld dozen=%d.\n", atomic_exchange(&rounds, 0), failures, dozen());
  puts("bye");
  return 0;
}
