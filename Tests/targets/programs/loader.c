/* Loads and unloads a library when it is told to.
 *
 * usage: loader LIBRARY FUNCTION
 * "open" loads the library, "close" unloads it, "call" calls the function, "occupy" takes the place where the library was,
 * "where" prints its load address. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
  char word[64];
  void *library = NULL;
  struct link_map *map;
  unsigned long base = 0;
  if (argc != 3) return 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "open") == 0) {
      library = dlopen(argv[1], RTLD_NOW);
      if (library && dlinfo(library, RTLD_DI_LINKMAP, &map) == 0) base = map->l_addr;
      puts(library ? "open" : dlerror());
    }
    if (strcmp(word, "close") == 0) printf("close=%d\n", dlclose(library));
    if (strcmp(word, "call") == 0) printf("%s=%d\n", argv[2], ((int (*)(void))dlsym(library, argv[2]))());
    if (strcmp(word, "where") == 0) printf("where=%lx\n", base);
    if (strcmp(word, "occupy") == 0)
      printf("occupy=%d\n", mmap((void *)base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)base);
  }
  puts("bye");
  return 0;
}
