/* Readers of two libraries at once. Each turn asks both between two looks at the universe; when both looks show the same,
 * both numbers must be of that generation: odd universes are old, even ones new. "watch ADDRESS" says where the universe is. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int dozen(void);
int hundred(void);

enum { readers = 2 };
static _Atomic(_Atomic uint64_t *) universe;
static struct { _Atomic long old, new, across, mixed; char padding[32]; } tally[readers];

static void *read_both(void *argument) {
  int self = (int)(intptr_t)argument;
  for (;;) {
    _Atomic uint64_t *place = universe;
    if (!place) continue;
    uint64_t before = *place;
    int first = dozen(), second = hundred();
    uint64_t after = *place;
    if (before != after) tally[self].across++;
    else if (before % 2 == 1 && first == 12 && second == 100) tally[self].old++;
    else if (before % 2 == 0 && first == 13 && second == 200) tally[self].new++;
    else tally[self].mixed++;
  }
  return NULL;
}

int main(void) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  for (intptr_t number = 0; number < readers; number++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, read_both, (void *)number)) return 2;
  }
  puts("ready");
  while (scanf("%63s", word) == 1) {
    unsigned long address;
    if (strcmp(word, "watch") == 0 && scanf("%lu", &address) == 1) {
      universe = (_Atomic uint64_t *)address;
      puts("watching");
      continue;
    }
    long old = 0, new = 0, across = 0, mixed = 0;
    for (int i = 0; i < readers; i++)
      old += tally[i].old, new += tally[i].new, across += tally[i].across, mixed += tally[i].mixed;
    printf("old=%ld new=%ld across=%ld mixed=%ld.\n", old, new, across, mixed);
  }
  return 0;
}
