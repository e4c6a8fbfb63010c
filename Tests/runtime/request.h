/* request.h: the tool's side of the contract, played in the process itself: writing requests, committing, settling. */
#ifndef REQUEST_H
#define REQUEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pulp_abi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT(address) ((void *)(uintptr_t)(address))

static struct pulp_ext *ext;
static struct pulp_operation *operation;
static struct pulp_transition *transitions;
static struct pulp_slot *slots;
static struct pulp_mailbox *mailbox;
static volatile uint64_t *universe;
static int32_t *error_state;
static uint64_t (*stage)(void);
static uint64_t (*unload)(uint64_t);
static uint64_t (*retire)(uint64_t);
static int64_t (*memory_open)(const char *);
static uint64_t (*memory_close)(void);
static struct pulp_memory_file *memory_files;

static void find_runtime(void) {
  ext = dlsym(RTLD_DEFAULT, "__ulp_ext");
  if (!ext || ext->magic != PULP_EXT_MAGIC) {
    puts("Bail out! no runtime is preloaded");
    exit(1);
  }
  operation = AT(ext->operation);
  transitions = AT(ext->transitions);
  slots = AT(ext->slots);
  mailbox = AT(ext->mailbox);
  universe = AT(ext->universe);
  error_state = AT(ext->error_state);
  stage = AT(ext->stage);
  unload = AT(ext->unload);
  retire = AT(ext->retire);
  memory_open = AT(ext->memory_open);
  memory_close = AT(ext->memory_close);
  memory_files = AT(ext->memory_files);
}

static struct pulp_patch *first_patch(void) { return AT(*(uint64_t *)AT(ext->patches)); }

struct build_id {
  uint32_t size;
  uint8_t bytes[PULP_BUILD_ID_MAX];
};

static struct build_id file_build_id(const char *path) {
  struct build_id id = {0};
  int file = open(path, O_RDONLY);
  struct stat info;
  if (file < 0 || fstat(file, &info)) return id;
  char *data = mmap(NULL, info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  ElfW(Ehdr) *header = (void *)data;
  ElfW(Phdr) *segments = (void *)(data + header->e_phoff);
  for (int i = 0; i < header->e_phnum; i++)
    for (char *at = data + segments[i].p_offset; segments[i].p_type == PT_NOTE && at < data + segments[i].p_offset + segments[i].p_filesz;) {
      ElfW(Nhdr) *note = (void *)at;
      if (note->n_type == 3) {
        id.size = note->n_descsz;
        memcpy(id.bytes, at + 16, id.size);
      }
      at += sizeof *note + ((note->n_namesz + 3) & ~3u) + ((note->n_descsz + 7) & ~7u);
    }
  munmap(data, info.st_size);
  close(file);
  return id;
}

struct library {
  char path[4096];
  void *handle;
  uint64_t bias;
  struct build_id build_id;
};

static struct library open_library(const char *directory, const char *name) {
  struct library library = {0};
  struct link_map *map;
  snprintf(library.path, sizeof library.path, "%s/%s", directory, name);
  library.handle = dlopen(library.path, RTLD_NOW);
  if (!library.handle) {
    printf("Bail out! %s\n", dlerror());
    exit(1);
  }
  dlinfo(library.handle, RTLD_DI_LINKMAP, &map);
  library.bias = map->l_addr;
  library.build_id = file_build_id(library.path);
  return library;
}

/* A request under construction, at the place where stage() reads it. */
static uint32_t request_used;
static struct pulp_request *request_begin(uint32_t patches, uint32_t reverts) {
  char *base = AT(ext->request);
  memset(base, 0, sizeof(struct pulp_request) + patches * sizeof(struct pulp_request_patch));
  struct pulp_request *request = (void *)base;
  *request = (struct pulp_request){.magic = PULP_REQUEST_MAGIC, .version = PULP_ABI_VERSION,
    .patch_count = patches, .patches_offset = sizeof *request, .revert_count = reverts,
    .owner_pid = getpid(), .owner_start = 12345, .token = 67890, .tool_pid = 4711};
  request_used = sizeof *request + patches * sizeof(struct pulp_request_patch);
  request->reverts_offset = request_used;
  request_used += reverts * 32;
  request->size = request_used;
  return request;
}

static uint32_t request_add(const void *bytes, size_t size, size_t alignment) {
  request_used = (request_used + alignment - 1) & ~(alignment - 1);
  uint32_t offset = request_used;
  if (bytes) memcpy((char *)AT(ext->request) + offset, bytes, size);
  else memset((char *)AT(ext->request) + offset, 0, size);
  request_used += size;
  ((struct pulp_request *)AT(ext->request))->size = request_used;
  return offset;
}
static uint32_t request_string(const char *string) { return request_add(string, strlen(string) + 1, 1); }

static struct pulp_request_patch *request_patch(uint32_t index, const char *id, const struct library *target,
                                                       const char *path, uint32_t units, uint32_t references) {
  struct pulp_request *request = AT(ext->request);
  struct pulp_request_patch *patch = (struct pulp_request_patch *)((char *)request + request->patches_offset) + index;
  struct build_id build_id = file_build_id(path);
  strncpy((char *)patch->id, id, sizeof patch->id);
  patch->target_bias = target->bias;
  patch->target_build_id_size = target->build_id.size;
  memcpy(patch->target_build_id, target->build_id.bytes, target->build_id.size);
  patch->build_id_size = build_id.size;
  memcpy(patch->build_id, build_id.bytes, build_id.size);
  patch->path_offset = request_string(path);
  patch->lib_name_offset = request_string(strrchr(target->path, '/') + 1);
  patch->unit_count = units;
  patch->units_offset = request_add(NULL, units * sizeof(struct pulp_request_unit), 8);
  patch->reference_count = references;
  patch->references_offset = request_add(NULL, references * sizeof(struct pulp_request_reference), 8);
  return patch;
}

static void request_unit(struct pulp_request_patch *patch, uint32_t index, uint64_t entry, uint32_t point_offset,
                                const char *name) {
  struct pulp_request_unit *units = (void *)((char *)AT(ext->request) + patch->units_offset);
  units[index] = (struct pulp_request_unit){entry, point_offset, request_string(name)};
}

static void request_reference(struct pulp_request_patch *patch, uint32_t index, uint64_t target_offset,
                                     const char *name, uint32_t tls) {
  struct pulp_request_reference *references = (void *)((char *)AT(ext->request) + patch->references_offset);
  references[index] = (struct pulp_request_reference){.target_offset = target_offset,
    .name_offset = request_string(name), .tls = tls};
}

static void request_revert(uint32_t index, const char *id) {
  struct pulp_request *request = AT(ext->request);
  char *place = (char *)request + request->reverts_offset + index * 32;
  memset(place, 0, 32);
  strncpy(place, id, 32);
}

/* What the tracer does after a stage: give the slots back and leave the operation. */
static void free_slots(void) {
  for (uint32_t i = 0; i < operation->transition_count; i++)
    slots[transitions[i].slot] = (struct pulp_slot){0};
}
static void leave_operation(void) {
  operation->first_patch = 0;
  operation->transition_count = 0;
  operation->state = PULP_OP_IDLE;
}
static void commit(void) {
  *universe = operation->universe;
  free_slots();
  leave_operation();
}
static bool abort_operation(void) {
  bool all = true;
  free_slots();
  for (struct pulp_patch *patch = first_patch(); patch; patch = AT(patch->next))
    if (patch->reverted_universe == operation->universe) patch->reverted_universe = 0;
  while (operation->first_patch) all &= unload(operation->first_patch) == PULP_OK;
  leave_operation();
  return all;
}
static uint32_t used_slots(void) {
  uint32_t used = 0;
  for (uint32_t i = 0; i < PULP_POOL_COUNT; i++)
    used += (slots[i].since | slots[i].new_target | slots[i].old_target | slots[i].entry) != 0;
  return used;
}
static uint32_t count_patches(void) {
  uint32_t count = 0;
  for (struct pulp_patch *patch = first_patch(); patch; patch = AT(patch->next)) count++;
  return count;
}
static struct pulp_patch *find_patch(const char *id) {
  struct pulp_patch *patch = first_patch();
  while (patch && strncmp((char *)patch->record.id, id, 32)) patch = AT(patch->next);
  return patch;
}
static bool text_is(const char *text) {
  return mailbox->text_size == strlen(text) && !memcmp(mailbox->text, text, mailbox->text_size);
}
static bool text_has(const char *text) { return memmem(mailbox->text, mailbox->text_size, text, strlen(text)); }
static int mappings(void) {
  int count = 0, c;
  FILE *file = fopen("/proc/self/maps", "r");
  while ((c = getc(file)) != EOF) count += c == '\n';
  fclose(file);
  return count;
}
/* Memory of the process's own, wherever it is kept: pages of files come and go as the kernel likes. */
static long own_memory_kib(void) {
  char line[256];
  long kib, sum = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r"); /* statm's counters lag behind */
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "Anonymous: %ld", &kib) == 1 || sscanf(line, "Swap: %ld", &kib) == 1) sum += kib;
  if (file) fclose(file);
  return sum ? sum : -1;
}
#endif
