/* The stand-in for SUSE's libpulp: the functions that it interposes, and its look at the loader's locks. */
#define _GNU_SOURCE
#include "suse_libpulp.h"
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* How many threads are in one of the interposed functions. It never comes down again if one leaves by other ways. */
static atomic_int inside;

static void *real(const char *name) {
  static __thread int nested;
  if (nested) return NULL;
  nested = 1;
  void *found = dlsym(RTLD_NEXT, name);
  nested = 0;
  return found;
}

/* What dlsym asks for before anything is known of the real functions. */
static char early[4096];
static size_t early_used;
static int is_early(void *p) { return (char *)p >= early && (char *)p < early + sizeof early; }
static void *take_early(size_t n) {
  void *p = early + early_used;
  early_used += (n + 15) & ~(size_t)15;
  return early_used <= sizeof early ? p : NULL;
}

#define INTERPOSE(type, name, parameters, arguments, otherwise)          \
  static type (*real_##name) parameters;                                 \
  EXPORT type name parameters {                                          \
    if (!real_##name) real_##name = (type(*) parameters)real(#name);     \
    if (!real_##name) return otherwise;                                  \
    atomic_fetch_add(&inside, 1);                                        \
    type answer = real_##name arguments;                                 \
    atomic_fetch_sub(&inside, 1);                                        \
    return answer;                                                       \
  }
INTERPOSE(void *, malloc, (size_t n), (n), take_early(n))
INTERPOSE(void *, calloc, (size_t n, size_t size), (n, size), take_early(n * size))
INTERPOSE(void *, realloc, (void *old, size_t n), (old, n), NULL)
INTERPOSE(void *, valloc, (size_t n), (n), NULL)
INTERPOSE(void *, pvalloc, (size_t n), (n), NULL)
INTERPOSE(void *, memalign, (size_t alignment, size_t n), (alignment, n), NULL)
INTERPOSE(void *, aligned_alloc, (size_t alignment, size_t n), (alignment, n), NULL)
INTERPOSE(int, posix_memalign, (void **p, size_t alignment, size_t n), (p, alignment, n), ENOMEM)
INTERPOSE(int, dlclose, (void *handle), (handle), -1)
INTERPOSE(int, dladdr, (const void *address, Dl_info *info), (address, info), 0)
INTERPOSE(int, dladdr1, (const void *address, Dl_info *info, void **extra, int flags), (address, info, extra, flags), 0)
INTERPOSE(int, dlinfo, (void *restrict handle, int request, void *restrict result), (handle, request, result), -1)

static void (*real_free)(void *);
EXPORT void free(void *p) {
  if (is_early(p)) return;
  if (!real_free) real_free = (void (*)(void *))real("free");
  atomic_fetch_add(&inside, 1);
  real_free(p);
  atomic_fetch_sub(&inside, 1);
}

/* All of them at the start: in the middle of a dlopen, which allocates, dlsym must not be called. */
void find_real_functions(void) {
#define FIND(name) real_##name = (__typeof__(real_##name))real(#name);
  FIND(malloc) FIND(calloc) FIND(realloc) FIND(free) FIND(valloc) FIND(pvalloc) FIND(memalign) FIND(aligned_alloc)
  FIND(posix_memalign) FIND(dlclose) FIND(dladdr) FIND(dladdr1) FIND(dlinfo)
}

/* glibc's recursive mutex. Those of the loader lie one behind the other in its _rtld_global. */
struct mutex { int lock; unsigned count; int owner; unsigned users; int kind, spins; void *list[2]; };
static const struct mutex *load_lock;

void find_locks(void) {
  static const struct mutex free_one = {.kind = 1};
  const char *global = dlsym(RTLD_DEFAULT, "_rtld_global");
  for (size_t at = 0; global && at < 4200; at += 8) {
    const struct mutex *two = (const struct mutex *)(global + at);
    if (memcmp(two, &free_one, sizeof free_one) || memcmp(two + 1, &free_one, sizeof free_one)) continue;
    load_lock = two;
    return;
  }
  abort(); /* as the original ends a program in which it does not find them */
}

int locks_held(void) {
  for (int i = 0; i < 2; i++) {
    int value = __atomic_load_n(&load_lock[i].lock, __ATOMIC_SEQ_CST);
    /* The original asserts 0 or 1; a contended lock has the value 2. */
    if (value != 0 && value != 1) {
      warn("assertion failed: lock value is %d", value);
#if HAS_ERROR_STATE
      __ulp_error_state = EUNKNOWN;
#endif
      return EUNKNOWN;
    }
    if (value) return EAGAIN;
  }
  int nobody = 0;
  if (!atomic_compare_exchange_strong(&inside, &nobody, 1)) return EAGAIN;
  atomic_store(&inside, 0);
  return 0;
}
