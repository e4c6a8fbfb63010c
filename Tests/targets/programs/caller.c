/* Loads the library it is given and answers each function's name with what the function returns. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
  char name[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!library) {
    fprintf(stderr, "caller: %s\n", argc == 2 ? dlerror() : "usage: caller LIBRARY");
    return 2;
  }
  puts("ready");
  while (scanf("%63s", name) == 1) {
    int (*function)(void) = (int (*)(void))dlsym(library, name);
    if (function)
      printf("%s=%d\n", name, function());
    else
      puts("unknown function");
  }
  puts("bye");
  return 0;
}
