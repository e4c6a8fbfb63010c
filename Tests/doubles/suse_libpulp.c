/* A stand-in for SUSE's libpulp in a process: its exported interface and its faults, for a tool that drives it. Written from
 * the interface's description alone; for tests only. SUSE_VERSION says for which of its versions.
 *
 * Faults kept: the count of threads that are in an interposed function makes an entry answer EAGAIN, and stays above zero in
 * a forked child or after a cancellation; a contended loader lock disables the runtime for good; the build ID is all but not
 * compared; the library is found by a part of its path; a unit that cannot be diverted, and a reference that is not found,
 * fail the call half-way, with the record listed, earlier writes queued, detours remembered and state 256; an unacknowledged
 * queue disables it with 285; revert-all never ends when a record may not be reverted; containers are never unloaded. */
#define _GNU_SOURCE
#include "suse_libpulp.h"
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct detour { uint8_t id[32]; uint64_t universe, target; char active; struct detour *next; };
struct root { uint32_t index; uint64_t patched; struct root *next; struct detour *detours; };

struct state EXPORT __ulp_state;
uint8_t EXPORT __ulp_metadata_buffer[metadata_size];
#if HAS_ERROR_STATE
int32_t EXPORT __ulp_error_state;
#else
int32_t __ulp_error_state __attribute__((visibility("hidden")));
#endif
#if HAS_VERSION
#if SUSE_VERSION % 100 > 9
char EXPORT __ulp_version[] = {'0', '.', '3', '.', '1', '0' + SUSE_VERSION % 10, 0};
#else
char EXPORT __ulp_version[] = {'0', '.', '3', '.', '0' + SUSE_VERSION % 10, 0};
#endif
#endif

static struct root *roots;
static uint64_t universe;

/* The entries, each eight bytes: two nops, a call, int3. */
#define ENTRY(name, routine) \
  ".globl " name "\n.type " name ",@notype\n" name ":\n.byte 0x90,0x90,0xe8\n.long " routine " - . - 4\n.byte 0xcc\n"
__asm__(".pushsection .text\n.balign 8\n" ENTRY("__ulp_trigger", "trigger") ENTRY("__ulp_revert_all", "revert_all")
  ENTRY("__ulp_check_patched", "check_patched") ENTRY("__ulp_get_global_universe", "get_universe")
#if HAS_ERROR_STATE
  ENTRY("__ulp_enable_or_disable_patching", "toggle")
#endif
  ".popsection\n");

/* Reading the metadata */
struct reader { const uint8_t *at, *end; };
static int take(struct reader *r, void *to, size_t n) {
  size_t left = r->end - r->at;
  memcpy(to, r->at, n < left ? n : left);
  r->at += n < left ? n : left;
  return n <= left ? 0 : -1;
}
static char *take_text(struct reader *r, uint32_t *size) {
  uint32_t n;
  if (take(r, &n, 4) || (size_t)(r->end - r->at) < n) return NULL;
  char *text = calloc(1, (size_t)n + 1);
  take(r, text, n);
  if (size) *size = n;
  return text;
}

struct new_unit { char *old_name, *new_name; uint64_t old; };
struct reference { char *name, *variable; uint64_t words[2]; uint8_t tls; };
struct metadata {
  uint8_t type, id[32];
  char *path, *build_id, *target;
  uint32_t build_id_size, units, dependencies, references;
  struct new_unit *unit;
  struct reference *reference;
  uint8_t (*dependency)[32];
};

static void *array(struct reader *r, uint32_t count, size_t size) { return (size_t)(r->end - r->at) < count ? NULL : calloc(count + 1, size); }

static int parse(struct metadata *m) {
  struct reader r = {__ulp_metadata_buffer, __ulp_metadata_buffer + metadata_size};
  memset(m, 0, sizeof *m);
  take(&r, &m->type, 1);
  take(&r, m->id, 32);
  if (m->type == 0) return ENOMETA;
  if (m->type > 2) return EUNKNOWN;
  if (!(m->path = take_text(&r, NULL)) || !*m->path) return EINVALIDULP;
  if (!(m->build_id = take_text(&r, &m->build_id_size)) || !(m->target = take_text(&r, NULL))) return EINVALIDULP;
  if (m->type == 2) return 0;
  if (take(&r, &m->units, 4) || !(m->unit = array(&r, m->units, sizeof *m->unit))) return EINVALIDULP;
  for (uint32_t i = 0; i < m->units; i++) {
    struct new_unit *u = &m->unit[i];
    if (!(u->old_name = take_text(&r, NULL)) || !(u->new_name = take_text(&r, NULL)) || take(&r, &u->old, 8)) return EINVALIDULP;
  }
  if (take(&r, &m->dependencies, 4) || !(m->dependency = array(&r, m->dependencies, 32))) return EINVALIDULP;
  for (uint32_t i = 0; i < m->dependencies; i++)
    if (take(&r, m->dependency[i], 32)) return EINVALIDULP;
  if (take(&r, &m->references, 4) || !(m->reference = array(&r, m->references, sizeof *m->reference))) return EINVALIDULP;
  for (uint32_t i = 0; i < m->references; i++) {
    struct reference *f = &m->reference[i];
    if (!(f->name = take_text(&r, NULL)) || !(f->variable = take_text(&r, NULL)) || take(&r, f->words, 16) || take(&r, &f->tls, 1))
      return EINVALIDULP;
  }
  return 0;
}

/* What is loaded */
struct found { const char *name; uint64_t base; size_t tls; const ElfW(Phdr) *headers; int count; };
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct found *found = data;
  const char *name = info->dlpi_name;
  /* A part of the path is enough; the program itself has none. */
  if (*name ? !strstr(name, found->name) : strcmp(program_invocation_short_name, found->name) != 0) return 0;
  found->base = info->dlpi_addr, found->tls = info->dlpi_tls_modid;
  found->headers = info->dlpi_phdr, found->count = info->dlpi_phnum;
  return 1;
}

/* The fault: any object with another ID of the same length will do. */
static int differs(struct dl_phdr_info *info, size_t size, void *data) {
  const struct metadata *m = data;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_NOTE) continue;
    const char *at = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, *end = at + info->dlpi_phdr[i].p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const ElfW(Nhdr) *note = (const void *)at;
      const char *id = at + sizeof *note + ((note->n_namesz + 3) & ~3u);
      if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz == m->build_id_size && memcmp(id, m->build_id, note->n_descsz)) return 1;
      at = id + ((note->n_descsz + 3) & ~3u);
    }
  }
  return 0;
}

/* An exported symbol of the target, through its DT_HASH. */
static uint64_t exported(const struct found *target, const char *name) {
  const ElfW(Dyn) *dynamic = NULL;
  const ElfW(Sym) *symbols = NULL;
  const char *strings = NULL;
  const uint32_t *hash = NULL;
  for (int i = 0; i < target->count; i++)
    if (target->headers[i].p_type == PT_DYNAMIC) dynamic = (const void *)(target->base + target->headers[i].p_vaddr);
  for (; dynamic && dynamic->d_tag; dynamic++) {
    if (dynamic->d_tag == DT_SYMTAB) symbols = (const void *)dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_STRTAB) strings = (const void *)dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_HASH) hash = (const void *)dynamic->d_un.d_ptr;
  }
  for (uint32_t i = 1; symbols && strings && hash && i < hash[1]; i++)
    if (symbols[i].st_shndx && !strcmp(strings + symbols[i].st_name, name)) return target->base + symbols[i].st_value;
  return 0;
}

static struct record *applied(const uint8_t *id) {
  for (struct record *r = __ulp_state.patches; r; r = r->next)
    if (!memcmp(r->id, id, 32)) return r;
  return NULL;
}

/* Applying */
static struct record *make_record(const struct metadata *m, const struct found *target, void *container) {
  struct record *record = calloc(1, sizeof *record);
  memcpy(record->id, m->id, 32);
  record->lib_name = strndup(m->target, 256), record->container_name = strndup(m->path, 256);
#if HAS_VERSION
  record->time = time(NULL);
#endif
  struct unit **last = &record->units;
  for (uint32_t i = 0; i < m->units; i++) {
    uint64_t old = m->unit[i].old ? target->base + m->unit[i].old : exported(target, m->unit[i].old_name);
    void *new = dlsym(container, m->unit[i].new_name);
    if (!old || !new) {
      warn("unable to resolve %s or %s", m->unit[i].old_name, m->unit[i].new_name);
      return NULL;
    }
    struct unit *unit = calloc(1, sizeof *unit);
    unit->patched = old, unit->target = (uint64_t)new;
    memcpy(unit->bytes, (const void *)old, 14);
    *last = unit, last = &unit->next;
  }
  for (uint32_t i = 0; i < m->dependencies; i++) {
    struct dependency *dependency = calloc(1, sizeof *dependency);
    memcpy(dependency->id, m->dependency[i], 32);
    dependency->next = record->dependencies, record->dependencies = dependency;
  }
  return record;
}

static int push_detour(const uint8_t *id, uint64_t patched, uint64_t target) {
  struct root *root = roots;
  while (root && root->patched != patched) root = root->next;
  if (!root) {
    root = calloc(1, sizeof *root);
    root->index = roots ? roots->index + 1 : 1;
    root->patched = patched, root->next = roots, roots = root;
  }
  struct detour *detour = calloc(1, sizeof *detour);
  memcpy(detour->id, id, 32);
  detour->universe = universe, detour->target = target, detour->active = 1;
  detour->next = root->detours, root->detours = detour;
  return divert(patched, target);
}

static int write_references(const struct metadata *m, const struct found *target, void *container) {
  for (uint32_t i = 0; i < m->references; i++) {
    const struct reference *f = &m->reference[i];
    struct link_map *map = container;
    uint64_t place = f->words[1] ? map->l_addr + f->words[1] : (uint64_t)dlsym(container, f->variable);
    if (!place) return ENONEWFUNC;
    uint64_t value[2] = {f->tls ? target->tls : target->base + f->words[0], f->words[0]};
    int error = write_later(place, value, f->tls ? 16 : 8);
    if (error) return error;
  }
  return 0;
}

static int apply(const struct metadata *m) {
  if (!dl_iterate_phdr(differs, (void *)m)) return EBUILDID;
  for (uint32_t i = 0; i < m->dependencies; i++)
    if (!applied(m->dependency[i])) return EDEPEND;
  if (applied(m->id)) return EAPPLIED;
  void *container = dlopen(m->path, RTLD_NOW);
  if (!container) {
    warn("Unable to load shared object %s: %s", m->path, dlerror());
    return EDLOPEN;
  }
  struct found target = {.name = m->target};
  struct record *record = dl_iterate_phdr(visit, &target) ? make_record(m, &target, container) : NULL;
  if (!record) return ESTATE;
  record->next = __ulp_state.patches, __ulp_state.patches = record;
  universe++;
  int error = 0;
  for (struct unit *u = record->units; u && !error; u = u->next) error = push_detour(m->id, u->patched, u->target);
  if (!error) error = write_references(m, &target, container);
  if (error) __ulp_error_state = EUNKNOWN;
  return error;
}

/* Reverting */
static int revert(const uint8_t *id) {
  struct record **at = &__ulp_state.patches;
  while (*at && memcmp((*at)->id, id, 32)) at = &(*at)->next;
  if (!*at) return ENOTAPPLIED;
  for (struct record *r = __ulp_state.patches; r; r = r->next)
    for (struct dependency *d = r->dependencies; d; d = d->next)
      if (!memcmp(d->id, id, 32)) return EDEPEND;
  universe++;
  for (struct root *root = roots; root; root = root->next) {
    struct detour *newest = NULL;
    int changed = 0;
    for (struct detour *d = root->detours; d; d = d->next) {
      if (d->active && !memcmp(d->id, id, 32)) d->active = 0, changed = 1;
      if (d->active && !newest) newest = d;
    }
    int error = changed ? divert(root->patched, newest ? newest->target : 0) : 0;
    if (error) return __ulp_error_state = EUNKNOWN, error;
  }
  struct record *record = *at;
  *at = record->next;
  for (struct unit *u = record->units, *next; u; u = next) next = u->next, free(u);
  free(record->lib_name);
  free(record);
  return 0;
}

/* What every entry asks first. */
static int obstacle(void) {
  if (__ulp_error_state) return __ulp_error_state;
#if HAS_QUEUE
  if (__ulp_insn_queue.count || __ulp_insn_queue.size) return __ulp_error_state = EINSNQ;
#endif
  return locks_held();
}

#define ROUTINE __attribute__((used, visibility("hidden")))
ROUTINE long trigger(void) {
  int error = obstacle();
  if (error) return error;
  struct metadata m;
  error = parse(&m);
  if (error) return error;
  error = m.type == 1 ? apply(&m) : revert(m.id);
  if (error) warn("type %d: error %d", m.type, error);
  memset(__ulp_metadata_buffer, 0, metadata_size);
  return error;
}

ROUTINE long revert_all(void) {
  int error = obstacle(), count = 0;
  if (error) return error;
  const char *name = (const char *)__ulp_metadata_buffer, *slash = strrchr(name, '/');
  name = slash ? slash + 1 : name;
  struct found target = {.name = name};
  for (struct record *r = __ulp_state.patches; r;) {
    struct record *next = r->next;
    if (strcmp(r->lib_name, name)) {
      r = next;
      continue;
    }
    error = revert(r->id);
    if (error && error != EDEPEND) return error;
    if (!error) count++, r = next; /* else the cursor stays where it is, for ever */
  }
  return count ? 0 : dl_iterate_phdr(visit, &target) ? ENOPATCH : ENOTARGETLIB;
}

ROUTINE long check_patched(void) { return !__ulp_error_state && applied(__ulp_metadata_buffer); }
ROUTINE long get_universe(void) { return universe; }
#if HAS_ERROR_STATE
ROUTINE long toggle(void) {
  if (__ulp_error_state == 0 || __ulp_error_state == EUSRBLOCKED) __ulp_error_state ^= EUSRBLOCKED;
  return __ulp_error_state;
}
#endif

__attribute__((constructor)) static void begin(void) {
  find_real_functions();
  push("libpulp loaded...\n");
  find_locks();
  if (is_opted_out()) __ulp_error_state = EUSRBLOCKED;
  __ulp_state.loaded = 1;
}
