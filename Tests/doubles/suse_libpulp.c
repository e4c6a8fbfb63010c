/* A stand-in for SUSE's libpulp 0.3.17 in a process: its exported interface and, where they matter to a tool that drives it,
 * its faults. Written from the interface's description alone; for tests only.
 *
 * Faults kept: the counter of allocations that other threads are in makes an entry answer EAGAIN; a contended loader lock
 * (here: two threads in dlopen or dlclose) disables the runtime for good; the build ID is not compared; a unit that cannot be
 * diverted fails the call half-way, with the record listed, earlier writes queued and state 256; an unacknowledged queue
 * disables it with 285; containers are never unloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
enum { EUNKNOWN = 256, EINVALIDULP = 266, ENOTAPPLIED = 272, EAPPLIED = 275, ENOTARGETLIB = 276, ENOPATCHABLE = 278,
  EUSRBLOCKED = 280, ENOPATCH = 284, EINSNQ = 285, EDLOPEN = 287, ESTATE = 270 };
enum { ring_size = 2097152, queue_size = 2097152, metadata_size = 524288 };

struct unit { uint64_t patched, target; uint8_t bytes[14], unused[2]; struct unit *next; };
struct record { uint8_t id[32]; char *lib_name, *container_name; struct unit *units; struct record *next; void *deps; time_t time; };
struct detour { uint8_t id[32]; uint64_t target; struct detour *next; };
struct root { uint64_t patched; struct root *next; struct detour *detours; };

struct { char loaded; struct record *patches; } EXPORT __ulp_state;
int32_t EXPORT __ulp_error_state;
char EXPORT __ulp_version[] = "0.3.17";
uint8_t EXPORT __ulp_metadata_buffer[metadata_size];
struct { char ring[ring_size]; uint32_t top, bottom, distance; } EXPORT __ulp_msg_queue;
struct { uint32_t version, count, size, padding; uint8_t buffer[queue_size]; } EXPORT __ulp_insn_queue = {.version = 1};

static struct root *roots;
static uint64_t universe;
static atomic_int allocating, loading;

/* The entries, each eight bytes: two nops, a call, int3. */
#define ENTRY(name, routine) \
  ".globl " name "\n.type " name ",@notype\n" name ":\n.byte 0x90,0x90,0xe8\n.long " routine " - . - 4\n.byte 0xcc\n"
__asm__(".pushsection .text\n.balign 8\n" ENTRY("__ulp_trigger", "trigger") ENTRY("__ulp_revert_all", "revert_all")
  ENTRY("__ulp_check_patched", "check_patched") ENTRY("__ulp_get_global_universe", "get_universe")
  ENTRY("__ulp_enable_or_disable_patching", "toggle") ".popsection\n");

/* Interposed functions: each counts itself in and out. */
#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
  static __thread int nested;
  if (nested) return NULL;
  nested = 1;
  void *found = dlsym(RTLD_NEXT, name);
  nested = 0;
  return found;
}
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

EXPORT void *malloc(size_t n) {
  if (!real_malloc) real_malloc = real("malloc");
  atomic_fetch_add(&allocating, 1);
  void *p = real_malloc(n);
  atomic_fetch_sub(&allocating, 1);
  return p;
}
static char early[4096];
static size_t early_used;
EXPORT void *calloc(size_t n, size_t size) {
  if (!real_calloc) real_calloc = real("calloc");
  if (!real_calloc) { /* dlsym asks for memory before we know of any */
    void *p = early + early_used;
    early_used += (n * size + 15) & ~(size_t)15;
    return early_used <= sizeof early ? p : NULL;
  }
  atomic_fetch_add(&allocating, 1);
  void *p = real_calloc(n, size);
  atomic_fetch_sub(&allocating, 1);
  return p;
}
EXPORT void *realloc(void *old, size_t n) {
  if (!real_realloc) real_realloc = real("realloc");
  atomic_fetch_add(&allocating, 1);
  void *p = real_realloc(old, n);
  atomic_fetch_sub(&allocating, 1);
  return p;
}
EXPORT void free(void *p) {
  if ((char *)p >= early && (char *)p < early + sizeof early) return;
  if (!real_free) real_free = real("free");
  atomic_fetch_add(&allocating, 1);
  real_free(p);
  atomic_fetch_sub(&allocating, 1);
}
/* The original peeks at the loader's lock. This counts who is inside, which comes to the same. */
EXPORT void *dlopen(const char *path, int mode) {
  static void *(*next)(const char *, int);
  if (!next) next = (void *(*)(const char *, int))real("dlopen");
  atomic_fetch_add(&loading, 1);
  void *handle = next(path, mode);
  atomic_fetch_sub(&loading, 1);
  return handle;
}
EXPORT int dlclose(void *handle) {
  static int (*next)(void *);
  if (!next) next = (int (*)(void *))real("dlclose");
  atomic_fetch_add(&loading, 1);
  int result = next(handle);
  atomic_fetch_sub(&loading, 1);
  return result;
}

static void say(const char *text) {
  size_t n = strlen(text) + 1;
  if (__ulp_msg_queue.top + n >= ring_size) {
    memset(__ulp_msg_queue.ring + __ulp_msg_queue.top, 0, ring_size - __ulp_msg_queue.top);
    __ulp_msg_queue.distance += ring_size - __ulp_msg_queue.top;
    __ulp_msg_queue.top = 0;
  }
  memcpy(__ulp_msg_queue.ring + __ulp_msg_queue.top, text, n);
  __ulp_msg_queue.top = (__ulp_msg_queue.top + n) % ring_size;
  __ulp_msg_queue.distance += n;
}

static int queue_write(uint64_t address, const void *bytes, uint32_t n) {
  uint32_t size = (16 + n + 7) & ~7u;
  if (__ulp_insn_queue.size + size > queue_size) return __ulp_error_state = EINSNQ;
  uint8_t *at = __ulp_insn_queue.buffer + __ulp_insn_queue.size;
  memset(at, 0, size);
  uint32_t head = 2 | size << 8;
  memcpy(at, &head, 4);
  memcpy(at + 4, &n, 4);
  memcpy(at + 8, &address, 8);
  memcpy(at + 16, bytes, n);
  __ulp_insn_queue.size += size;
  __ulp_insn_queue.count++;
  return 0;
}

/* Queues the bytes that make `entry` lead to `target`, or to itself. */
static int divert(uint64_t entry, uint64_t target) {
  static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  int offset = memcmp((void *)entry, endbr64, 4) ? 0 : 4;
  const uint8_t *point = (const uint8_t *)entry + offset;
  if (point[0] != 0xeb && !(point[1] == 0x90 && (point[0] == 0x90 || point[0] == 0x66))) return ENOPATCHABLE;
  if (!target) return queue_write(entry + offset, "\x66\x90", 2);
  uint8_t bytes[20] = {0xff, 0x25};
  memcpy(bytes + 6, &target, 8);
  if (offset) memcpy(bytes + 14, endbr64, 4);
  bytes[14 + offset] = 0xeb;
  bytes[15 + offset] = 0xf0 - offset;
  return queue_write(entry - 14, bytes, 16 + offset);
}

/* Reading the metadata */
struct reader { const uint8_t *at, *end; };
static int take(struct reader *r, void *to, size_t n) {
  if ((size_t)(r->end - r->at) < n) return -1;
  memcpy(to, r->at, n);
  r->at += n;
  return 0;
}
static char *take_text(struct reader *r) {
  uint32_t n;
  if (take(r, &n, 4) || (size_t)(r->end - r->at) < n) return NULL;
  char *text = calloc(1, n + 1);
  take(r, text, n);
  return text;
}

struct found { const char *name; uint64_t base; const char *path; size_t tls; };
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct found *found = data;
  const char *name = info->dlpi_name;
  if (!strstr(name, found->name) && !(name[0] == 0 && !strcmp(program_invocation_short_name, found->name))) return 0;
  found->base = info->dlpi_addr;
  found->path = name;
  found->tls = info->dlpi_tls_modid;
  return 1;
}

static struct record *applied(const uint8_t *id) {
  for (struct record *r = __ulp_state.patches; r; r = r->next)
    if (!memcmp(r->id, id, 32)) return r;
  return NULL;
}

static int push_detour(const uint8_t *id, uint64_t patched, uint64_t target) {
  struct root *root = roots;
  while (root && root->patched != patched) root = root->next;
  if (!root) {
    root = calloc(1, sizeof *root);
    root->patched = patched, root->next = roots, roots = root;
  }
  struct detour *detour = calloc(1, sizeof *detour);
  memcpy(detour->id, id, 32);
  detour->target = target, detour->next = root->detours, root->detours = detour;
  return divert(patched, target);
}

static int apply(struct reader r, const uint8_t *id) {
  char *path = take_text(&r);
  char *build_id = take_text(&r); /* compared by nobody */
  char *target_name = take_text(&r);
  uint32_t count;
  if (!path || !*path || !build_id || !target_name || take(&r, &count, 4)) return EINVALIDULP;
  if (applied(id)) return EAPPLIED;
  struct found target = {.name = target_name};
  if (!dl_iterate_phdr(visit, &target)) return ENOTARGETLIB;
  void *container = dlopen(path, RTLD_NOW);
  if (!container) {
    char text[4608];
    snprintf(text, sizeof text, "ulp: Unable to load shared object %s: %s\n", path, dlerror());
    say(text);
    return EDLOPEN;
  }
  struct record *record = calloc(1, sizeof *record);
  memcpy(record->id, id, 32);
  record->lib_name = target_name, record->container_name = path, record->time = time(NULL);
  struct unit **last = &record->units;
  for (uint32_t i = 0; i < count; i++) {
    char *old_name = take_text(&r), *new_name = take_text(&r);
    uint64_t old;
    if (!old_name || !new_name || take(&r, &old, 8)) return EINVALIDULP;
    void *new = dlsym(container, new_name);
    if (!new) return ESTATE;
    struct unit *unit = calloc(1, sizeof *unit);
    unit->patched = target.base + old, unit->target = (uint64_t)new;
    *last = unit, last = &unit->next;
  }
  record->next = __ulp_state.patches, __ulp_state.patches = record;
  universe++;
  for (struct unit *u = record->units; u; u = u->next) {
    int error = push_detour(id, u->patched, u->target);
    if (error) return __ulp_error_state = EUNKNOWN, error;
  }
  uint32_t dependencies, references;
  if (take(&r, &dependencies, 4)) return EINVALIDULP;
  r.at += 32 * (size_t)dependencies;
  if (take(&r, &references, 4)) return EINVALIDULP;
  for (uint32_t i = 0; i < references; i++) {
    char *name = take_text(&r), *variable = take_text(&r);
    uint64_t words[2], value[2];
    uint8_t tls;
    if (!name || !variable || take(&r, words, 16) || take(&r, &tls, 1)) return EINVALIDULP;
    struct link_map *map = container;
    uint64_t place = words[1] ? map->l_addr + words[1] : (uint64_t)dlsym(container, variable);
    value[0] = tls ? target.tls : target.base + words[0], value[1] = words[0];
    queue_write(place, value, tls ? 16 : 8);
  }
  return 0;
}

static int revert(const uint8_t *id) {
  struct record **at = &__ulp_state.patches;
  while (*at && memcmp((*at)->id, id, 32)) at = &(*at)->next;
  if (!*at) return ENOTAPPLIED;
  universe++;
  for (struct root *root = roots; root; root = root->next) {
    struct detour **d = &root->detours;
    int changed = 0;
    while (*d) {
      if (!memcmp((*d)->id, id, 32)) *d = (*d)->next, changed = 1;
      else d = &(*d)->next;
    }
    if (changed) divert(root->patched, root->detours ? root->detours->target : 0);
  }
  *at = (*at)->next;
  return 0;
}

/* What every entry asks first. */
static int obstacle(void) {
  if (__ulp_error_state) return __ulp_error_state;
  if (__ulp_insn_queue.count || __ulp_insn_queue.size) return __ulp_error_state = EINSNQ;
  if (atomic_load(&loading) > 1) return __ulp_error_state = EUNKNOWN;
  return atomic_load(&loading) || atomic_load(&allocating) ? EAGAIN : 0;
}

#define ROUTINE __attribute__((used, visibility("hidden")))
ROUTINE long trigger(void) {
  int error = obstacle();
  if (error) return error;
  struct reader r = {__ulp_metadata_buffer, __ulp_metadata_buffer + metadata_size};
  uint8_t type, id[32];
  take(&r, &type, 1);
  take(&r, id, 32);
  error = type == 1 ? apply(r, id) : type == 2 ? revert(id) : EUNKNOWN;
  memset(__ulp_metadata_buffer, 0, metadata_size);
  return error;
}

ROUTINE long revert_all(void) {
  int error = obstacle(), found = 0;
  if (error) return error;
  const char *name = (const char *)__ulp_metadata_buffer, *slash = strrchr(name, '/');
  name = slash ? slash + 1 : name;
  struct found target = {.name = name};
  for (struct record *r = __ulp_state.patches, *next; r; r = next) {
    next = r->next;
    if (!strcmp(r->lib_name, name)) revert(r->id), found = 1;
  }
  return found ? 0 : dl_iterate_phdr(visit, &target) ? ENOPATCH : ENOTARGETLIB;
}

ROUTINE long check_patched(void) { return !__ulp_error_state && applied(__ulp_metadata_buffer); }
ROUTINE long get_universe(void) { return universe; }
ROUTINE long toggle(void) {
  if (__ulp_error_state == 0 || __ulp_error_state == EUSRBLOCKED) __ulp_error_state ^= EUSRBLOCKED;
  return __ulp_error_state;
}

__attribute__((constructor)) static void begin(void) {
  say("libpulp loaded...\n");
  __ulp_state.loaded = 1;
}
