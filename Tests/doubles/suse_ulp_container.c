/* suse_ulp_container.c: metadata out of a container's sections, made ready for the process; and what SUSE's tool looks at
 * before it stops anything. */
#define _GNU_SOURCE
#include "suse_ulp.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct file {
  uint8_t *data;
  size_t size;
};

static bool map_file(const char *path, struct file *ret) {
  struct stat info;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &info) || !info.st_size) return false;
  ret->size = (size_t)info.st_size;
  ret->data = mmap(NULL, ret->size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  return ret->data != MAP_FAILED;
}

static const Elf64_Shdr *section(const struct file *file, const char *name) {
  const Elf64_Ehdr *header = (void *)file->data;
  if (file->size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) || !header->e_shoff) return NULL;
  const Elf64_Shdr *sections = (void *)(file->data + header->e_shoff);
  const char *names = (char *)file->data + sections[header->e_shstrndx].sh_offset;
  for (unsigned i = 0; i < header->e_shnum; i++)
    if (!strcmp(names + sections[i].sh_name, name)) return &sections[i];
  return NULL;
}

static unsigned read_raw(const char *path, struct metadata *ret) {
  struct file file;
  if (!map_file(path, &file) || file.size >= METADATA_SIZE) return ENOMETA;
  memcpy(ret->bytes, file.data, ret->size = (uint32_t)file.size);
  munmap(file.data, file.size);
  return 0;
}

/* type, id | length of the path with its NUL | path | the rest of the section */
unsigned read_metadata(const char *container, bool revert, struct metadata *ret) {
  struct file file;
  char real[PATH_MAX], path[2 * PATH_MAX];
  if (options.raw) return read_raw(container, ret);
  if (!map_file(container, &file)) return ENOMETA;
  const Elf64_Shdr *found = section(&file, revert ? ".ulp.rev" : ".ulp");
  snprintf(path, sizeof path, "%s%s", options.prefix ? options.prefix : "", realpath(container, real) ? real : container);
  uint32_t length = (uint32_t)strlen(path) + 1;
  if (!found || found->sh_size < 33 || length >= PATH_MAX || found->sh_size + 4 + length >= METADATA_SIZE) return ENOMETA;
  const uint8_t *bytes = file.data + found->sh_offset;
  memcpy(ret->bytes, bytes, 33);
  memcpy(ret->bytes + 33, &length, 4);
  memcpy(ret->bytes + 37, path, length);
  memcpy(ret->bytes + 37 + length, bytes + 33, found->sh_size - 33);
  ret->size = (uint32_t)(found->sh_size + 4 + length);
  munmap(file.data, file.size);
  return 0;
}

static bool has_symbol(const struct file *file, const char *kind, const char *strings, const char *name) {
  const Elf64_Shdr *symbols = section(file, kind), *text = section(file, strings);
  if (!symbols || !text) return false;
  const Elf64_Sym *symbol = (void *)(file->data + symbols->sh_offset);
  for (uint64_t i = 0; i < symbols->sh_size / sizeof *symbol; i++)
    if (!strcmp((char *)file->data + text->sh_offset + symbol[i].st_name, name)) return true;
  return false;
}

static bool units_exist(const char *container, const uint8_t *at) {
  struct file file;
  uint32_t count, size;
  bool all = map_file(container, &file);
  memcpy(&count, at, 4), at += 4;
  for (uint32_t i = 0; i < count && all; i++) {
    memcpy(&size, at, 4), at += 4 + size;
    memcpy(&size, at, 4);
    const char *name = (char *)at + 4;
    all = has_symbol(&file, ".dynsym", ".dynstr", name) || has_symbol(&file, ".symtab", ".strtab", name);
    at += 4 + size + 8;
  }
  return all;
}

unsigned check_before(struct target *target, const char *container, const struct metadata *metadata) {
  const uint8_t *at = metadata->bytes + 33, *id;
  uint32_t size, name_size;
  bool has_name = false;
  char name[512] = "";
  memcpy(&size, at, 4), at += 4 + size;
  memcpy(&size, at, 4), id = at + 4, at += 4 + size;
  memcpy(&name_size, at, 4);
  if (name_size < sizeof name) memcpy(name, at + 4, name_size);
  at += 4 + name_size;
  if (metadata->bytes[0] == 1 && !units_exist(container, at)) return EUNKNOWN;
  for (int i = 0; i < target->object_count; i++) {
    if (strcmp(base_name(target->objects[i].name), name)) continue;
    has_name = true;
    if (size == 20 && target->objects[i].has_build_id && !memcmp(target->objects[i].build_id, id, 20)) return 0;
  }
  return has_name ? EBUILDID : ENOTARGETLIB;
}
