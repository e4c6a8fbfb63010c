/* Writing by libelf, which is loaded on demand like libdw: most commands never write a file. */
#include "elf_write.h"

#include <dlfcn.h>
#include <stdint.h>

#define EACH_FUNCTION(X)                                                                                                 \
  X(elf_version) X(elf_begin) X(elf_end) X(elf_errno) X(elf_errmsg) X(elf_flagelf) X(elf64_newehdr) X(elf64_newphdr)     \
  X(elf_newscn) X(elf_getscn) X(elf64_getshdr) X(elf_newdata) X(elf_update)

#define POINTER(name) __typeof__(&name) name;
static struct { EACH_FUNCTION(POINTER) } elf;

static const char *load(void) {
  static int state; /* 0: not tried; 1: loaded */
  if (state)
    return NULL;
  void *library = dlopen("libelf.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return dlerror();
#define RESOLVE(name)                                                                                                    \
  if (!(*(void **)&elf.name = dlsym(library, #name)))                                                                    \
    return dlerror();
  EACH_FUNCTION(RESOLVE)
  if (elf.elf_version(EV_CURRENT) == EV_NONE)
    return "libelf is of another version";
  state = 1;
  return NULL;
}

static int add_section(Elf *file, const struct ul_section *section) {
  Elf_Scn *made = elf.elf_newscn(file);
  Elf64_Shdr *header = made ? elf.elf64_getshdr(made) : NULL;
  if (!header)
    return 0;
  *header = section->header;
  if (!section->contents && section->header.sh_type != SHT_NOBITS)
    return 1;
  Elf_Data *data = elf.elf_newdata(made);
  if (!data)
    return 0;
  /* Bytes as they are: nothing is to be converted. Data without buffer says how long a NOBITS section is. */
  data->d_buf = (void *)(uintptr_t)section->contents;
  data->d_size = section->header.sh_size;
  data->d_type = ELF_T_BYTE;
  data->d_version = EV_CURRENT;
  data->d_align = 1;
  return 1;
}

static int fill(
    Elf *file, const Elf64_Ehdr *header, const Elf64_Phdr *segments, size_t segment_count,
    const struct ul_section *sections, size_t section_count, size_t names) {
  elf.elf_flagelf(file, ELF_C_SET, ELF_F_LAYOUT);
  Elf64_Ehdr *own = elf.elf64_newehdr(file);
  if (!own)
    return 0;
  *own = *header;
  if (segment_count) {
    Elf64_Phdr *table = elf.elf64_newphdr(file, segment_count);
    if (!table)
      return 0;
    for (size_t i = 0; i < segment_count; i++)
      table[i] = segments[i];
  }
  for (size_t i = 0; i < section_count; i++)
    if (!add_section(file, &sections[i]))
      return 0;
  /* Numbers that do not fit into the header are in section 0 (gABI, "Section header table"). libelf cares for the number
   * of sections; that of the names is ours. */
  own->e_shstrndx = names < SHN_LORESERVE ? names : SHN_XINDEX;
  if (names >= SHN_LORESERVE) {
    Elf_Scn *zero = elf.elf_getscn(file, 0);
    Elf64_Shdr *first = zero ? elf.elf64_getshdr(zero) : NULL;
    if (!first)
      return 0;
    first->sh_link = names;
    elf.elf_flagelf(file, ELF_C_SET, ELF_F_DIRTY);
  }
  return elf.elf_update(file, ELF_C_WRITE) >= 0;
}

const char *ul_elf_write(
    int fd, const Elf64_Ehdr *header, const Elf64_Phdr *segments, size_t segment_count, const struct ul_section *sections,
    size_t section_count, size_t names) {
  const char *reason = load();
  if (reason)
    return reason;
  Elf *file = elf.elf_begin(fd, ELF_C_WRITE, NULL);
  if (!file)
    return elf.elf_errmsg(-1);
  if (!fill(file, header, segments, segment_count, sections, section_count, names))
    reason = elf.elf_errmsg(-1);
  elf.elf_end(file);
  return reason;
}
