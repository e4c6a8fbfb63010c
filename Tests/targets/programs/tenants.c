/* Threads that each keep a number in the library's thread-local variable, and compare what they get back without pause. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void tenant_set(long);
long tenant_get(void);

enum { count = 6 };
static _Atomic long old, new, wrong;

static void *live(void *argument) {
  long number = (long)(intptr_t)argument;
  tenant_set(number);
  for (;;) {
    long got = tenant_get();
    if (got == number) old++;
    else if (got == -number) new++;
    else wrong++;
  }
  return NULL;
}

int main(void) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  for (intptr_t number = 1; number <= count; number++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live, (void *)number)) return 2;
  }
  tenant_set(99);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "main") == 0) printf("main=%ld\n", tenant_get());
    else printf("old=%ld new=%ld wrong=%ld.\n", atomic_exchange(&old, 0), atomic_exchange(&new, 0), atomic_load(&wrong));
  }
  return 0;
}
