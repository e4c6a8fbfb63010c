/* suse_ulp_discover.c: the process as SUSE's tool sees it: link map, symbols of the runtime, its lists and messages. */
#define _GNU_SOURCE
#include "suse_ulp.h"
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

bool remote_read(struct target *target, uint64_t address, void *to, size_t size) {
  struct iovec local = {to, size}, remote = {(void *)address, size};
  return process_vm_readv(target->pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

bool remote_write(struct target *target, uint64_t address, const void *from, size_t size) {
  struct iovec local = {(void *)from, size}, remote = {(void *)address, size};
  return process_vm_writev(target->pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

uint64_t read_word(struct target *target, uint64_t address, unsigned size) {
  uint64_t value = 0;
  return remote_read(target, address, &value, size) ? value : 0;
}

/* In steps of 8 bytes from wherever it begins: a string at the end of a mapping needs room behind it. */
bool read_string(struct target *target, uint64_t address, char *to, size_t size) {
  for (size_t at = 0; at + 8 < size; at += 8) {
    if (!remote_read(target, address + at, to + at, 8)) return false;
    if (memchr(to + at, 0, 8)) return true;
  }
  to[size - 1] = 0;
  return true;
}

const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static uint64_t auxiliary(pid_t pid, uint64_t kind) {
  char path[64];
  ElfW(auxv_t) entry;
  uint64_t value = 0;
  snprintf(path, sizeof path, "/proc/%d/auxv", pid);
  int file = open(path, O_RDONLY);
  while (file >= 0 && read(file, &entry, sizeof entry) == sizeof entry && entry.a_type != AT_NULL)
    if (entry.a_type == kind) value = entry.a_un.a_val;
  if (file >= 0) close(file);
  return value;
}

static uint64_t find_debug_state(struct target *target, uint64_t *bias) {
  uint64_t at = auxiliary(target->pid, AT_PHDR), count = auxiliary(target->pid, AT_PHNUM), dynamic = 0;
  Elf64_Phdr header;
  Elf64_Dyn entry;
  if (!at || auxiliary(target->pid, AT_PHENT) != sizeof header) return 0;
  for (uint64_t i = 0; i < count && remote_read(target, at + i * sizeof header, &header, sizeof header); i++) {
    if (header.p_type == PT_PHDR) *bias = at - header.p_vaddr;
    if (header.p_type == PT_DYNAMIC) dynamic = header.p_vaddr;
  }
  for (dynamic += *bias; remote_read(target, dynamic, &entry, sizeof entry) && entry.d_tag; dynamic += sizeof entry)
    if (entry.d_tag == DT_DEBUG) return entry.d_un.d_ptr;
  return 0;
}

static void read_build_id(struct target *target, struct object *object, uint64_t at, uint64_t size) {
  uint8_t notes[4096];
  if (size > sizeof notes || !remote_read(target, at, notes, size)) return;
  for (uint64_t i = 0; i + sizeof(Elf64_Nhdr) <= size;) {
    Elf64_Nhdr *note = (void *)(notes + i);
    uint64_t bytes = i + sizeof *note + ((note->n_namesz + 3) & ~3u);
    if (note->n_type == 3 && note->n_descsz == 20 && bytes + 20 <= size && !object->has_build_id) {
      memcpy(object->build_id, notes + bytes, 20);
      object->has_build_id = true;
    }
    i = bytes + ((note->n_descsz + 3) & ~3u);
  }
}

static uint64_t non_pie_base(struct target *target) {
  char path[64], line[4096];
  uint64_t start = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", target->pid);
  FILE *file = fopen(path, "r");
  if (file && fgets(line, sizeof line, file)) start = strtoull(line, NULL, 16);
  if (file) fclose(file);
  return start;
}

static bool examine(struct target *target, struct object *object, uint64_t base) {
  Elf64_Ehdr header;
  Elf64_Phdr segment;
  if (!remote_read(target, base, &header, sizeof header)) return false;
  for (unsigned i = 0; i < header.e_phnum; i++) {
    if (!remote_read(target, base + header.e_phoff + i * sizeof segment, &segment, sizeof segment)) return false;
    if (segment.p_type == PT_NOTE) read_build_id(target, object, object->bias + segment.p_vaddr, segment.p_memsz);
  }
  return true;
}

/* The number of symbols comes from DT_HASH alone. */
static void find_symbols(struct target *target, uint64_t dynamic) {
  uint64_t symbols = 0, strings = 0, hash = 0;
  Elf64_Dyn entry;
  Elf64_Sym symbol;
  char name[65 + 8];
  for (; remote_read(target, dynamic, &entry, sizeof entry) && entry.d_tag; dynamic += sizeof entry) {
    if (entry.d_tag == DT_SYMTAB) symbols = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRTAB) strings = entry.d_un.d_ptr;
    if (entry.d_tag == DT_HASH) hash = entry.d_un.d_ptr;
  }
  uint64_t count = hash ? read_word(target, hash + 4, 4) : 0;
  struct object *runtime = &target->objects[target->object_count - 1];
  for (uint64_t i = 0; i < count; i++) {
    if (!remote_read(target, symbols + i * sizeof symbol, &symbol, sizeof symbol)) return;
    if (!remote_read(target, strings + symbol.st_name, name, 5) || memcmp(name, "__ulp", 5) || !symbol.st_value) continue;
    if (!read_string(target, strings + symbol.st_name, name, sizeof name)) continue;
    uint64_t address = runtime->bias + symbol.st_value;
    target->symbol_count++;
    if (!strcmp(name, "__ulp_trigger")) target->trigger = address;
    else if (!strcmp(name, "__ulp_revert_all")) target->revert_all = address;
    else if (!strcmp(name, "__ulp_check_patched")) target->check_patched = address;
    else if (!strcmp(name, "__ulp_get_global_universe")) target->universe = address;
    else if (!strcmp(name, "__ulp_enable_or_disable_patching")) target->toggle = address;
    else if (!strcmp(name, "__ulp_state")) target->state = address;
    else if (!strcmp(name, "__ulp_metadata_buffer")) target->metadata_buffer = address;
    else if (!strcmp(name, "__ulp_error_state")) target->error_state = address;
    else if (!strcmp(name, "__ulp_msg_queue")) target->message_queue = address;
    else if (!strcmp(name, "__ulp_insn_queue")) target->insn_queue = address;
    else if (!strcmp(name, "__ulp_version")) target->version = address;
  }
}

static void read_version(struct target *target) {
  char text[64];
  unsigned a, b, c;
  if (target->version && read_string(target, target->version, text, sizeof text) && sscanf(text, "%u.%u.%u", &a, &b, &c) == 3)
    target->version_number = a << 20 | b << 10 | c;
}

static unsigned walk(struct target *target) {
  uint64_t bias = 0, debug = find_debug_state(target, &bias), next;
  struct link_map map;
  if (!debug) return ENOLINKMAP;
  next = read_word(target, debug + offsetof(struct r_debug, r_map), 8);
  for (; next && target->object_count < OBJECT_MAX; next = (uint64_t)map.l_next) {
    if (!remote_read(target, next, &map, sizeof map)) return ENOLINKMAP;
    struct object *object = &target->objects[target->object_count];
    memset(object, 0, sizeof *object);
    object->bias = map.l_addr;
    read_string(target, (uint64_t)map.l_name, object->name, sizeof object->name);
    if (strstr(object->name, "linux-vdso.so.1")) continue;
    target->object_count++;
    if (!examine(target, object, map.l_addr ? map.l_addr : non_pie_base(target))) return ENOPHDR;
    if (strstr(object->name, "libpulp.so")) find_symbols(target, (uint64_t)map.l_ld);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/comm", target->pid); /* the main object goes by the name of the process */
  FILE *file = fopen(path, "r");
  if (file && fgets(target->objects[0].name, 256, file)) target->objects[0].name[strcspn(target->objects[0].name, "\n")] = 0;
  if (file) fclose(file);
  return 0;
}

static bool is_mapped(pid_t pid) {
  char path[64], line[4096];
  bool found = false;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *file = fopen(path, "r");
  while (file && !found && fgets(line, sizeof line, file)) found = strstr(line, "libpulp.so");
  if (file) fclose(file);
  return found;
}

unsigned discover(struct target *target) {
  int status;
  if (!is_mapped(target->pid)) return ENOLIBPULP;
  if (ptrace(PTRACE_ATTACH, target->pid, 0, 0)) return ETARGETHOOK;
  waitpid(target->pid, &status, __WALL);
  unsigned error = walk(target);
  ptrace(PTRACE_DETACH, target->pid, 0, 0);
  if (error) return error;
  if (!target->trigger || !target->revert_all || !target->check_patched || !target->universe || !target->state ||
      !target->metadata_buffer)
    return ENOLIBPULP;
  read_version(target);
  if (target->insn_queue && read_word(target, target->insn_queue, 4) > 1) return EOLDULP;
  return read_word(target, target->state, 1) ? 0 : EAGAIN;
}

unsigned print_symbols(struct target *target) {
  printf("names=%d\nversion=%u.%u.%u\n", target->symbol_count, target->version_number >> 20,
         target->version_number >> 10 & 1023, target->version_number & 1023);
  printf("toggle=%d error_state=%d messages=%d queue=%d\n", target->toggle != 0, target->error_state != 0,
         target->message_queue != 0, target->insn_queue != 0);
  printf("load_state=%u error=%u universe_entry=%d\n", (unsigned)read_word(target, target->state, 1),
         (unsigned)read_word(target, target->error_state, 4), target->universe != 0);
  return 0;
}

unsigned print_messages(struct target *target) {
  static char ring[RING_SIZE];
  if (!target->message_queue || !remote_read(target, target->message_queue, ring, sizeof ring)) return ENOLIBPULP;
  uint32_t bottom = (uint32_t)read_word(target, target->message_queue + RING_SIZE + 4, 4);
  uint32_t distance = (uint32_t)read_word(target, target->message_queue + RING_SIZE + 8, 4);
  for (uint32_t i = 0; i < distance && i < RING_SIZE; i++) {
    char character = ring[(bottom + i) % RING_SIZE];
    if (character) putchar(character);
  }
  return 0;
}

unsigned print_patches(struct target *target) {
  uint64_t record = read_word(target, target->state + 8, 8);
  bool has_time = target->version_number >= (0u << 20 | 3u << 10 | 1u);
  for (int i = 0; record && i < 10000; i++, record = read_word(target, record + 56, 8)) {
    char library[512] = "", container[4096] = "";
    uint8_t id[32];
    if (!remote_read(target, record, id, 32)) return ENOPHDR;
    if (!read_string(target, read_word(target, record + 32, 8), library, sizeof library)) return ENOPHDR;
    if (!read_string(target, read_word(target, record + 40, 8), container, sizeof container)) return ENOPHDR;
    printf("patch=");
    for (int byte = 0; byte < 32; byte++) printf("%02x", id[byte]);
    printf(" library=%s container=%s time=%llu\n", base_name(library), container,
           has_time ? (unsigned long long)read_word(target, record + 72, 8) : 0);
  }
  return 0;
}
