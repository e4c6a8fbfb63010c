/* module.c: mapped objects, asked from the loader by dl_iterate_phdr alone. While a visitor runs the loader's lock is
 * held, so the object cannot be unmapped under it; visitors are short and call nothing that could block.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <link.h>

enum { NOTE_BUILD_ID = 3 };
#define PAGE_MASK 4095ull

struct search {
  uint64_t bias;
  const char *name; /* NULL: any */
  pulp_module_visitor *visitor;
  void *context;
  uint64_t result;
  bool found;
};

static uint64_t round_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

/* Notes are as the file gives them: lengths are checked against what is mapped. */
static void read_build_id(struct pulp_module *module, uint64_t at, uint64_t size, uint64_t alignment) {
  uint64_t end = at + size;
  alignment = alignment == 8 ? 8 : 4;
  while (end - at >= sizeof(ElfW(Nhdr))) {
    const ElfW(Nhdr) *note = (const void *)at;
    uint64_t name = at + sizeof *note;
    uint64_t bytes = round_up(name + note->n_namesz, alignment);
    uint64_t next = round_up(bytes + note->n_descsz, alignment);
    if (bytes > end || note->n_descsz > end - bytes) return;
    if (note->n_type == NOTE_BUILD_ID && note->n_namesz == 4 && pulp_equal((const void *)name, "GNU", 4) &&
        note->n_descsz <= PULP_BUILD_ID_MAX) {
      pulp_copy(module->build_id, (const void *)bytes, note->n_descsz);
      module->build_id_size = note->n_descsz;
      return;
    }
    if (next > end) return;
    at = next;
  }
}

static void describe(struct pulp_module *module, const struct dl_phdr_info *info) {
  module->bias = info->dlpi_addr;
  module->name = info->dlpi_name;
  module->headers = info->dlpi_phdr;
  module->header_count = info->dlpi_phnum;
  module->tls_module = info->dlpi_tls_modid;
  module->start = PULP_NEVER;
  for (uint32_t index = 0; index < module->header_count; index++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[index];
    uint64_t start = module->bias + header->p_vaddr, end = start + header->p_memsz;
    if (header->p_type == PT_TLS) module->tls_size = header->p_memsz;
    if (header->p_type != PT_LOAD) continue;
    if ((start & ~PAGE_MASK) < module->start) module->start = start & ~PAGE_MASK;
    if (end > module->end) module->end = round_up(end, PAGE_MASK + 1);
  }
  for (uint32_t index = 0; index < module->header_count && !module->build_id_size; index++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[index];
    uint64_t start = module->bias + header->p_vaddr;
    if (header->p_type == PT_NOTE && pulp_module_room(module, start, PF_R) >= header->p_memsz)
      read_build_id(module, start, header->p_memsz, header->p_align);
  }
}

static bool same_name(const char *a, const char *b) {
  size_t length = pulp_length(a);
  return length == pulp_length(b) && pulp_equal(a, b, length);
}

static int visit(struct dl_phdr_info *info, size_t size, void *context) {
  struct search *search = context;
  if (size < offsetof(struct dl_phdr_info, dlpi_tls_data)) return 0;
  if (info->dlpi_addr != search->bias) return 0;
  if (search->name && !same_name(search->name, info->dlpi_name)) return 0;
  struct pulp_module module;
  pulp_zero(&module, sizeof module);
  describe(&module, info);
  search->found = true;
  search->result = search->visitor(&module, search->context);
  return 1;
}

bool pulp_module_visit(uint64_t bias, const char *name, pulp_module_visitor *visitor, void *context, uint64_t *ret) {
  struct search search = {.bias = bias, .name = name, .visitor = visitor, .context = context};
  dl_iterate_phdr(visit, &search);
  if (search.found && ret) *ret = search.result;
  return search.found;
}

static uint64_t take_copy(const struct pulp_module *module, void *context) {
  *(struct pulp_module *)context = *module;
  return 0;
}

/* The copy stays true for as long as somebody holds the object open. */
bool pulp_module_find(uint64_t bias, const char *name, struct pulp_module *ret) {
  return pulp_module_visit(bias, name, take_copy, ret, NULL);
}

bool pulp_module_is(const struct pulp_module *module, const uint8_t *build_id, uint32_t size) {
  return module->build_id_size == size && pulp_equal(module->build_id, build_id, size);
}

/* Bytes from the address to the end of the segment that holds it and has all of the flags; 0 if there is none. A write
 * asks for PF_W: what the loader protects after relocation does not count as writable. */
uint64_t pulp_module_room(const struct pulp_module *module, uint64_t address, uint32_t flags) {
  const ElfW(Phdr) *headers = module->headers;
  uint64_t room = 0;
  for (uint32_t index = 0; index < module->header_count; index++) {
    uint64_t start = module->bias + headers[index].p_vaddr, end = start + headers[index].p_memsz;
    if (headers[index].p_type == PT_LOAD && (headers[index].p_flags & flags) == flags && address >= start &&
        address < end)
      room = end - address;
  }
  for (uint32_t index = 0; room && flags & PF_W && index < module->header_count; index++) {
    uint64_t start = module->bias + headers[index].p_vaddr, end = start + headers[index].p_memsz;
    if (headers[index].p_type != PT_GNU_RELRO) continue;
    start &= ~PAGE_MASK, end &= ~PAGE_MASK; /* as the loader rounds them */
    if (address >= start && address < end) return 0;
    if (address < start && room > start - address) room = start - address;
  }
  return room;
}
