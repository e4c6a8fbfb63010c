/* Writing an ELF file whose layout is given. */
#pragma once

#include <libelf.h>
#include <stddef.h>

/* A section header, and the bytes that belong to it (NULL for a section without any). */
struct ul_section {
  Elf64_Shdr header;
  const void *_Nullable contents;
};

/* Writes headers, segments' table and sections to the empty file `fd`, each where its header says. `sections` is without
 * section 0, which libelf makes; `names` is the number of the section of the names. Bytes that no section covers become 0.
 * Returns NULL, or what failed. */
const char *_Nullable ul_elf_write(
    int fd, const Elf64_Ehdr *_Nonnull header, const Elf64_Phdr *_Nullable segments, size_t segment_count,
    const struct ul_section *_Nonnull sections, size_t section_count, size_t names);
