/* Ends by itself, at once and without notice, when somebody loads a patch into it or stops it long enough: a thread watches
 * for a change of the list of mappings. Shows what the tool says of a process that leaves in the middle of its work. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int dozen(void);

static int mappings(void) {
  int lines = 0, byte;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps && (byte = getc(maps)) != EOF) lines += byte == '\n';
  if (maps) fclose(maps);
  return lines;
}

static void *watch(void *unused) {
  mappings(); /* brings in what reading a file needs */
  int before = mappings();
  puts("ready");
  for (;;)
    if (mappings() > before + 2) _exit(7);
  return unused;
}

int main(void) {
  char word[64];
  pthread_t watcher;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pthread_create(&watcher, NULL, watch, NULL)) return 2;
  while (scanf("%63s", word) == 1) printf("%d\n", dozen());
  return 0;
}
