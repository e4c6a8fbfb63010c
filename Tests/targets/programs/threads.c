/* Busy threads that would notice anything a patch takes from them: every call's result is checked, and every other
 * register of the vector unit and of the integer unit is held over a loop and compared. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

long mix(long, long, long, long, long, long, long, long, double, double, double, double, double, double, double, double,
  double, double);
int dozen(void);

enum { most = 512 };
static struct { _Atomic long old, new, wrong, registers; char padding[32]; } tally[most];

static void call(int self, long n) {
  long sum = 2 * ((n + 2 * 2 + 3 * 3 + 4 * 4 + 5 * 5 + 6 * 6 + 7 * 7 + 8 * n) + (10 + 22 + 36 + 52 + 70 + 90 + 112 + 136 + 162 + 190));
  long got = mix(n, 2, 3, 4, 5, 6, 7, n, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
  atomic_fetch_add(got == sum ? &tally[self].old : got == sum + 1 ? &tally[self].new : &tally[self].wrong, 1);
}

/* Everything the loop uses is in registers, so a stop anywhere in it tests them. ymm and r12 carry the thread's own number.
 * The red zone below the stack pointer is used as well: a borrowed thread must step over it. */
__attribute__((target("avx"), noinline)) static int registers_hold(uint64_t seed) {
  uint64_t in[4] = {seed, ~seed, seed * 3, seed ^ 0x5555}, a[4], b[4], red, kept, turns = 3000;
  __asm__ volatile(
    "vmovdqu (%[in]), %%ymm0\n\tvmovdqu (%[in]), %%ymm9\n\tmov %[seed], %%r12\n\tmov %[seed], -64(%%rsp)\n"
    "1:\tadd $1, %%r12\n\tsub $1, %%r12\n\tdec %[turns]\n\tjnz 1b\n\t"
    "vmovdqu %%ymm0, (%[a])\n\tvmovdqu %%ymm9, (%[b])\n\tmov %%r12, %[kept]\n\tmov -64(%%rsp), %[red]"
    : [turns] "+r"(turns), [kept] "=&r"(kept), [red] "=&r"(red)
    : [in] "r"(in), [a] "r"(a), [b] "r"(b), [seed] "r"(seed)
    : "xmm0", "xmm9", "r12", "memory", "cc");
  return memcmp(in, a, sizeof in) == 0 && memcmp(in, b, sizeof in) == 0 && kept == seed && red == seed;
}

static void *work(void *argument) {
  int self = (int)(intptr_t)argument;
  for (long n = 1;; n++) {
    call(self, n);
    if (!registers_hold((uint64_t)n * 0x9e3779b97f4a7c15u + (uint64_t)self)) atomic_fetch_add(&tally[self].registers, 1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 8;
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  if (count < 1 || count > most) return 2;
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(intptr_t)i)) return 2;
  }
  puts("ready");
  while (scanf("%63s", word) == 1) {
    long old = 0, new = 0, wrong = 0, registers = 0, idle = 0;
    for (int i = 0; i < count; i++) { /* reading a tally resets it: the answer is about the time since the last question */
      long was_old = atomic_exchange(&tally[i].old, 0), was_new = atomic_exchange(&tally[i].new, 0);
      old += was_old, new += was_new, idle += was_old + was_new == 0;
      wrong += atomic_load(&tally[i].wrong), registers += atomic_load(&tally[i].registers);
    }
    printf("old=%ld new=%ld wrong=%ld registers=%ld idle=%ld dozen=%d.\n", old, new, wrong, registers, idle, dozen());
  }
  puts("bye");
  return 0;
}
