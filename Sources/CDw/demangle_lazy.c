/* The C++ library's demangler, loaded when a name is asked for that no symbol has. */
#include "CDw.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* Itanium C++ ABI, "Demangler API". */
typedef char *(*demangle)(const char *name, char *buffer, size_t *size, int *status);

/* Names that are longer come from no compiler, and the demangler descends into each nested part. */
enum { longest = 8192 };

static demangle load(void) {
  static demangle function;
  static int is_tried;
  if (!is_tried) {
    is_tried = 1;
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    if (library) *(void **)&function = dlsym(library, "__cxa_demangle");
  }
  return function;
}

char *ul_demangle(const char *name) {
  if (name[0] != '_' || name[1] != 'Z' || strnlen(name, longest) == longest) return NULL;
  demangle function = load();
  int status = 0;
  return function ? function(name, NULL, NULL, &status) : NULL;
}
