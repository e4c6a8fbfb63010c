/* The C++ library's demangler, loaded when a name is asked for that no symbol has. */
#include "CDw.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
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

/* No readable name becomes longer than that. */
static const double widest = 64 << 20;

/* Whether a name may expand beyond all bounds: a part stands for an earlier one that was written before it (`S1_`, `T_`), which
 * may hold such parts itself, so that every few letters can double the length. Estimated from above: a part that is referred to
 * for the first time may be all that was written so far; a letter stands for 25 at most (`Sd`). */
static int expands_too_far(const char *name, size_t length) {
  struct { char kind; unsigned long id; double size; } known[32];
  size_t count = 0;
  double referred = 0;
  for (const char *at = name; *at && referred <= widest; at++) {
    if (*at != 'S' && *at != 'T') continue;
    char *end = NULL;
    unsigned long id = at[1] == '_' ? 0 : strtoul(at + 1, &end, 36) + 1;
    if (at[1] != '_' && (end == at + 1 || *end != '_' || at[1] == '+' || at[1] == '-' || at[1] == ' ')) continue;
    size_t index = 0;
    while (index < count && (known[index].kind != *at || known[index].id != id)) index++;
    if (index == count) {
      if (count == sizeof known / sizeof *known) return 1;
      known[count].kind = *at, known[count].id = id, known[count++].size = 25.0 * (at - name) + referred;
    }
    referred += known[index].size;
  }
  return 25.0 * length + referred > widest;
}

char *ul_demangle(const char *name) {
  if (name[0] != '_' || name[1] != 'Z') return NULL;
  size_t length = strnlen(name, longest);
  if (length == longest || expands_too_far(name, length)) return NULL;
  demangle function = load();
  int status = 0;
  return function ? function(name, NULL, NULL, &status) : NULL;
}
