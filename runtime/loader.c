/* loader.c: the loader's list of objects, read without asking the loader. SUSE's tool stops all threads wherever they are:
 * one of them may hold the loader's lock, and then dlsym, dladdr and dl_iterate_phdr would wait for ever. So the list is
 * found as a debugger finds it (gabi, "Dynamic Section", DT_DEBUG) and symbols are looked up in the hash tables directly.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <link.h>
#include <sys/auxv.h>

PULP_RARE_CODE

enum { OBJECT_LIMIT = 65536 };

static const struct r_debug *debugger_state(void) {
  const ElfW(Phdr) *headers = (const void *)getauxval(AT_PHDR);
  uint64_t count = getauxval(AT_PHNUM), bias = 0;
  const ElfW(Dyn) *dynamic = NULL;
  for (uint64_t index = 0; headers && index < count; index++)
    if (headers[index].p_type == PT_PHDR) bias = (uint64_t)(uintptr_t)headers - headers[index].p_vaddr;
  for (uint64_t index = 0; headers && index < count; index++)
    if (headers[index].p_type == PT_DYNAMIC) dynamic = (const void *)(uintptr_t)(bias + headers[index].p_vaddr);
  for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++)
    if (dynamic->d_tag == DT_DEBUG) return (const void *)(uintptr_t)dynamic->d_un.d_ptr;
  return NULL;
}

/* glibc relocates these words in place, except where the section is read-only (the vDSO's). */
static const void *place(const struct pulp_object *object, uint64_t word) {
  return (const void *)(uintptr_t)(word < object->bias ? word + object->bias : word);
}

static void describe(struct pulp_object *object, const struct link_map *map) {
  uint64_t soname = 0;
  pulp_zero(object, sizeof *object);
  object->map = map;
  object->bias = map->l_addr;
  object->name = map->l_name ? map->l_name : "";
  for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_SYMTAB) object->symbols = place(object, entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRTAB) object->strings = place(object, entry->d_un.d_ptr);
    if (entry->d_tag == DT_HASH) object->hash = place(object, entry->d_un.d_ptr);
    if (entry->d_tag == DT_GNU_HASH) object->gnu_hash = place(object, entry->d_un.d_ptr);
    if (entry->d_tag == DT_SONAME) soname = entry->d_un.d_val;
  }
  if (!object->symbols || !object->strings) object->hash = object->gnu_hash = NULL;
  object->soname = soname && object->strings ? object->strings + soname : "";
}

bool pulp_object_first(struct pulp_object *object) {
  const struct r_debug *state = debugger_state();
  if (!state || state->r_state != RT_CONSISTENT || !state->r_map) return false;
  describe(object, state->r_map);
  object->is_program = true;
  return true;
}

bool pulp_object_next(struct pulp_object *object) {
  const struct link_map *next = ((const struct link_map *)object->map)->l_next;
  uint32_t index = object->index + 1;
  if (!next || index == OBJECT_LIMIT) return false;
  describe(object, next);
  object->index = index;
  return true;
}

uint64_t pulp_loader_base(void) {
  const struct r_debug *state = debugger_state();
  return state ? state->r_ldbase : 0;
}

const char *pulp_base_name(const char *path) {
  const char *name = path;
  for (; *path; path++)
    if (*path == '/') name = path + 1;
  return name;
}

bool pulp_same_string(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

/* Number of dynamic symbols: of the SysV table its chain length, else the end of the last GNU chain. */
static uint32_t symbol_count(const struct pulp_object *object) {
  if (object->hash) return object->hash[1];
  if (!object->gnu_hash) return 0;
  uint32_t buckets = object->gnu_hash[0], first = object->gnu_hash[1], bloom = object->gnu_hash[2], last = 0;
  const uint32_t *bucket = object->gnu_hash + 4 + bloom * 2, *chain = bucket + buckets;
  for (uint32_t index = 0; index < buckets; index++)
    if (bucket[index] > last) last = bucket[index];
  if (last < first) return first;
  while (!(chain[last - first] & 1)) last++;
  return last + 1;
}

static bool defines(const ElfW(Sym) *symbol) {
  unsigned type = ELF64_ST_TYPE(symbol->st_info);
  return symbol->st_shndx != SHN_UNDEF && symbol->st_value && (type == STT_FUNC || type == STT_GNU_IFUNC);
}

static const ElfW(Sym) *look_up_gnu(const struct pulp_object *object, const char *name) {
  const ElfW(Sym) *symbols = object->symbols;
  uint32_t hash = 5381, buckets = object->gnu_hash[0], first = object->gnu_hash[1], bloom = object->gnu_hash[2];
  const uint32_t *bucket = object->gnu_hash + 4 + bloom * 2, *chain = bucket + buckets;
  for (const char *at = name; *at; at++) hash = hash * 33 + (uint8_t)*at;
  uint32_t index = buckets ? bucket[hash % buckets] : 0;
  if (index < first) return NULL;
  for (;; index++) {
    uint32_t found = chain[index - first];
    if ((found | 1) == (hash | 1) && defines(&symbols[index]) &&
        pulp_same_string(object->strings + symbols[index].st_name, name))
      return &symbols[index];
    if (found & 1) return NULL;
  }
}

/* A function that the object exports; its kind in `is_indirect`. */
bool pulp_object_function(const struct pulp_object *object, const char *name, struct pulp_function *ret) {
  const ElfW(Sym) *symbols = object->symbols, *found = NULL;
  if (object->gnu_hash) found = look_up_gnu(object, name);
  else
    for (uint32_t index = 0, count = symbol_count(object); index < count && !found; index++)
      if (defines(&symbols[index]) && pulp_same_string(object->strings + symbols[index].st_name, name))
        found = &symbols[index];
  if (!found) return false;
  ret->start = object->bias + found->st_value;
  ret->end = ret->start + (found->st_size ? found->st_size : 1);
  ret->is_indirect = ELF64_ST_TYPE(found->st_info) == STT_GNU_IFUNC;
  return true;
}

/* Widens a range to the exported functions around it: what lies between is local code of the same object file. */
void pulp_object_widen(const struct pulp_object *object, struct pulp_range *range) {
  const ElfW(Sym) *symbols = object->symbols;
  uint64_t before = 0, after = PULP_NEVER;
  for (uint32_t index = 0, count = symbol_count(object); index < count; index++) {
    if (!defines(&symbols[index])) continue;
    uint64_t start = object->bias + symbols[index].st_value, end = start + symbols[index].st_size;
    if (start < range->start && end > before) before = end;
    if (start >= range->end && start < after) after = start;
  }
  if (before && before < range->start) range->start = before;
  if (after != PULP_NEVER) range->end = after;
}

/* The executable segments of an object whose file begins at its load bias, as those of every shared object do. */
uint32_t pulp_object_text(uint64_t bias, struct pulp_range *ranges, uint32_t capacity) {
  ElfW(Ehdr) header;
  uint32_t count = 0;
  if (pulp_peek(bias, &header, sizeof header) != sizeof header || !pulp_equal(header.e_ident, ELFMAG, SELFMAG)) return 0;
  for (uint32_t index = 0; index < header.e_phnum && count < capacity; index++) {
    ElfW(Phdr) segment;
    if (pulp_peek(bias + header.e_phoff + index * sizeof segment, &segment, sizeof segment) != sizeof segment) break;
    if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
    ranges[count].start = bias + segment.p_vaddr;
    ranges[count++].end = bias + segment.p_vaddr + segment.p_memsz;
  }
  return count;
}
