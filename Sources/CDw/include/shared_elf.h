/* One handle of libelf for all processes that have a file mapped. */
#pragma once

#include <elfutils/libdwfl.h>

/* Opens a file, which stays the caller's. NULL without libdw, or if it cannot be opened. */
Elf *_Nullable ul_elf_open(int fd);
void ul_elf_close(Elf *_Nonnull elf);

/* Reports a module whose file is `elf`: nothing is opened for it. `base` is where the file's first byte is mapped. 0, or -1.
 * For handles whose `find_elf` is `ul_find_mapped`. The module holds the file from its first use on; until then the caller
 * must. */
int ul_report_mapped(
    Dwfl *_Nonnull dwfl, const char *_Nonnull name, GElf_Addr base, GElf_Addr end, Elf *_Nonnull elf);

int ul_find_mapped(
    Dwfl_Module *_Nullable module, void *_Nullable *_Nullable own, const char *_Nullable name, Dwarf_Addr base,
    char *_Nullable *_Nullable file_name, Elf *_Nullable *_Nullable elf);
