/* libdw on demand.
 *
 * It brings four more libraries and costs every start about half a millisecond and 1.5 MB, while only a switch unwinds
 * stacks. So it is not linked; the functions that we use are defined here under their own names and forward to it.
 * Whoever needs another one adds it to the list. Without the library dwfl_begin returns NULL, and a stack counts as not
 * unwound. */
#include "CDw.h"

#include <dlfcn.h>
#include <stddef.h>

#define EACH_FUNCTION(X)                                                                                                 \
  X(dwfl_begin) X(dwfl_end) X(dwfl_report_begin) X(dwfl_report_begin_add) X(dwfl_report_elf) X(dwfl_report_end)          \
  X(dwfl_attach_state) X(dwfl_thread_state_registers) X(dwfl_getthread_frames) X(dwfl_frame_pc) X(dwfl_frame_reg)         \
  X(dwfl_addrmodule) X(dwfl_module_eh_cfi) X(dwarf_cfi_addrframe) X(dwfl_report_module) X(dwfl_module_info)                \
  X(elf_version) X(elf_begin) X(elf_end)

#define POINTER(name) __typeof__(&name) name;
static struct { EACH_FUNCTION(POINTER) } dw;

/* 1 when all functions are there. */
static int load(void) {
  static int state; /* 0: not tried; 1: loaded; -1: not to be had */
  if (state)
    return state > 0;
  state = -1;
  void *library = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return 0;
#define RESOLVE(name)                                                                                                    \
  if (!(*(void **)&dw.name = dlsym(library, #name)))                                                                     \
    return 0;
  EACH_FUNCTION(RESOLVE) /* libdw needs libelf: its functions are found through libdw's handle */
  if (dw.elf_version(EV_CURRENT) == EV_NONE)
    return 0;
  state = 1;
  return 1;
}

Dwfl *dwfl_begin(const Dwfl_Callbacks *callbacks) { return load() ? dw.dwfl_begin(callbacks) : NULL; }

/* What follows gets a handle that dwfl_begin made, so the library is there. */

void dwfl_end(Dwfl *dwfl) { dw.dwfl_end(dwfl); }
void dwfl_report_begin(Dwfl *dwfl) { dw.dwfl_report_begin(dwfl); }
void dwfl_report_begin_add(Dwfl *dwfl) { dw.dwfl_report_begin_add(dwfl); }

Dwfl_Module *dwfl_report_elf(
    Dwfl *dwfl, const char *name, const char *file_name, int fd, GElf_Addr base, bool add_p_vaddr) {
  return dw.dwfl_report_elf(dwfl, name, file_name, fd, base, add_p_vaddr);
}

int dwfl_report_end(
    Dwfl *dwfl, int (*removed)(Dwfl_Module *, void *, const char *, Dwarf_Addr, void *), void *argument) {
  return dw.dwfl_report_end(dwfl, removed, argument);
}

bool dwfl_attach_state(Dwfl *dwfl, Elf *elf, pid_t pid, const Dwfl_Thread_Callbacks *callbacks, void *argument) {
  return dw.dwfl_attach_state(dwfl, elf, pid, callbacks, argument);
}

bool dwfl_thread_state_registers(Dwfl_Thread *thread, int first, unsigned count, const Dwarf_Word *registers) {
  return dw.dwfl_thread_state_registers(thread, first, count, registers);
}

int dwfl_getthread_frames(Dwfl *dwfl, pid_t tid, int (*callback)(Dwfl_Frame *, void *), void *argument) {
  return dw.dwfl_getthread_frames(dwfl, tid, callback, argument);
}

bool dwfl_frame_pc(Dwfl_Frame *frame, Dwarf_Addr *pc, bool *is_activation) {
  return dw.dwfl_frame_pc(frame, pc, is_activation);
}

int dwfl_frame_reg(Dwfl_Frame *frame, unsigned number, Dwarf_Word *value) {
  return dw.dwfl_frame_reg(frame, number, value);
}

Dwfl_Module *dwfl_addrmodule(Dwfl *dwfl, Dwarf_Addr address) { return dw.dwfl_addrmodule(dwfl, address); }

Dwarf_CFI *dwfl_module_eh_cfi(Dwfl_Module *module, Dwarf_Addr *bias) { return dw.dwfl_module_eh_cfi(module, bias); }

int dwarf_cfi_addrframe(Dwarf_CFI *cache, Dwarf_Addr address, Dwarf_Frame **frame) {
  return dw.dwarf_cfi_addrframe(cache, address, frame);
}

/* Files that several handles share. */

Elf *ul_elf_open(int fd) { return load() ? dw.elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL) : NULL; }

void ul_elf_close(Elf *elf) { dw.elf_end(elf); }

int ul_report_mapped(Dwfl *dwfl, const char *name, GElf_Addr base, GElf_Addr end, Elf *elf) {
  Dwfl_Module *module = dw.dwfl_report_module(dwfl, name, base, end);
  void **own = NULL;
  if (!module || !dw.dwfl_module_info(module, &own, NULL, NULL, NULL, NULL, NULL, NULL) || !own)
    return -1;
  *own = elf;
  return 0;
}

int ul_find_mapped(
    Dwfl_Module *module, void **own, const char *name, Dwarf_Addr base, char **file_name, Elf **elf) {
  (void)module, (void)name, (void)base, (void)file_name;
  /* With a handle given libelf returns that one, and counts: it is closed with the last of its users. */
  if (*own)
    *elf = dw.elf_begin(-1, ELF_C_READ_MMAP_PRIVATE, *own);
  return -1;
}
