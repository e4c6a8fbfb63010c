/* Unloads a library and has code of its own run where the library was. "swap" maps a page over the function's place and sends a
 * thread into a loop right before where its entry was: a tool that takes the thread for one in the padding of a detour, and
 * puts it to the entry, makes it run into an invalid instruction there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int dozen(void);

static volatile sig_atomic_t derailed;

static void on_invalid(int number) {
  (void)number;
  derailed = 1;
  for (;;) pause();
}

static void *call(void *place) {
  ((void (*)(void))place)();
  return NULL;
}

static int swap(void *library, unsigned char *entry) {
  unsigned char *page = (unsigned char *)((unsigned long)entry & ~4095ul);
  pthread_t thread;
  if (dlclose(library)) return 1;
  if (mmap(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return 2;
  memcpy(entry, "\x0f\x0b", 2);      /* ud2 */
  memcpy(entry - 10, "\xeb\xfe", 2); /* a jump to itself */
  return pthread_create(&thread, NULL, call, entry - 10) ? 3 : 0;
}

int main(void) {
  char word[64];
  void *library = dlopen("libnumber.so.0", RTLD_NOW);
  int (*number)(void) = library ? (int (*)(void))dlsym(library, "number") : NULL;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (!number || signal(SIGILL, on_invalid) == SIG_ERR) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "number") == 0) printf("number=%d.\n", number());
    if (strcmp(word, "swap") == 0) printf("swap=%d.\n", swap(library, (unsigned char *)number));
    if (strcmp(word, "tell") == 0) printf("derailed=%d dozen=%d.\n", (int)derailed, dozen());
  }
  return 0;
}
