/* patch.c: one loaded container and the block that describes it. Runs on the carrier, inside a remote call: may call
 * dlopen, dlsym, dlclose and mmap; no malloc of our own. A block is complete before it is linked, and unlinked before it
 * is unmapped: whoever reads the list from outside sees whole blocks, or a read that fails.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <sys/mman.h>
#include <time.h>

/* SUSE's tool reads strings in steps of 8 bytes. */
enum { STRING_SLACK = 8 };
enum { MEMORY_PATH_MAX = 128 };

struct pulp_unit *pulp_patch_units(const struct pulp_patch *patch) { return (void *)(uintptr_t)patch->record.units; }
struct pulp_patch *pulp_patch_first(void) { return (void *)(uintptr_t)PULP_OBSERVE(pulp_patches); }
struct pulp_patch *pulp_patch_next(const struct pulp_patch *patch) { return (void *)(uintptr_t)patch->next; }

bool pulp_patch_in_force(const struct pulp_patch *patch, uint64_t universe) {
  return patch->applied_universe <= universe && (!patch->reverted_universe || patch->reverted_universe > universe);
}

/* A library may have been unloaded and another loaded in its place: the same address, another function. */
bool pulp_patch_same_target(const struct pulp_patch *a, const struct pulp_patch *b) {
  return a->target_bias == b->target_bias && a->target_build_id_size == b->target_build_id_size &&
         pulp_equal(a->target_build_id, b->target_build_id, a->target_build_id_size);
}

static struct pulp_patch *map_block(const struct pulp_request *request, const struct pulp_request_patch *from) {
  const char *path = pulp_request_string(request, from->path_offset);
  const char *lib_name = pulp_request_string(request, from->lib_name_offset);
  uint32_t dependency_count;
  pulp_request_dependencies(request, from, &dependency_count);
  uint64_t units = sizeof(struct pulp_patch), dependencies = units + from->unit_count * sizeof(struct pulp_unit);
  uint64_t strings = dependencies + dependency_count * sizeof(struct pulp_dependency);
  size_t path_size = pulp_length(path) + 1, lib_name_size = pulp_length(lib_name) + 1;
  uint64_t size = (strings + path_size + lib_name_size + STRING_SLACK + 4095) & ~4095ull;
  char *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return NULL;
  struct pulp_patch *patch = (void *)block;
  patch->magic = PULP_PATCH_MAGIC;
  patch->block_size = size;
  patch->record.units = from->unit_count ? (uintptr_t)(block + units) : 0;
  patch->record.dependencies = dependency_count ? (uintptr_t)(block + dependencies) : 0;
  patch->record.container_name = (uintptr_t)(block + strings);
  patch->record.lib_name = (uintptr_t)(block + strings + path_size);
  pulp_copy(block + strings, path, path_size);
  pulp_copy(block + strings + path_size, lib_name, lib_name_size);
  return patch;
}

static void fill_block(struct pulp_patch *patch, const struct pulp_request *request,
                       const struct pulp_request_patch *from) {
  const struct pulp_request_unit *units = (const void *)((const char *)request + from->units_offset);
  struct pulp_unit *to = pulp_patch_units(patch);
  struct timespec now;
  if (!clock_gettime(CLOCK_REALTIME, &now)) patch->record.time = (uint64_t)now.tv_sec;
  pulp_copy(patch->record.id, from->id, sizeof from->id);
  pulp_copy(patch->target_build_id, from->target_build_id, from->target_build_id_size);
  patch->target_build_id_size = from->target_build_id_size;
  patch->target_bias = from->target_bias;
  patch->applied_universe = PULP_NEVER;
  patch->flags = (uint32_t)from->flags;
  if (request->flags & PULP_REQUEST_GUEST) patch->flags |= PULP_PATCH_GUEST;
  patch->unit_count = from->unit_count;
  for (uint32_t index = 0; index < from->unit_count; index++) {
    to[index].patched_addr = units[index].entry;
    to[index].point_offset = units[index].point_offset;
    to[index].next = index + 1 < from->unit_count ? (uintptr_t)&to[index + 1] : 0;
  }
}

static void fill_dependencies(struct pulp_patch *patch, const struct pulp_request *request,
                              const struct pulp_request_patch *from) {
  struct pulp_dependency *to = (void *)(uintptr_t)patch->record.dependencies;
  uint32_t count;
  const uint8_t *ids = pulp_request_dependencies(request, from, &count);
  for (uint32_t index = 0; index < count; index++) {
    pulp_copy(to[index].id, ids + index * 32ull, sizeof to->id);
    to[index].next = index + 1 < count ? (uintptr_t)&to[index + 1] : 0;
  }
}

/* Under the loader's lock: is it the library the request means, do all entries lie in its code, and what do they hold? */
static uint64_t read_entries(const struct pulp_module *module, void *context) {
  struct pulp_patch *patch = context;
  struct pulp_unit *units = pulp_patch_units(patch);
  if (!pulp_module_is(module, patch->target_build_id, patch->target_build_id_size)) return PULP_EBUILDID;
  for (uint32_t index = 0; index < patch->unit_count; index++) {
    uint64_t room = pulp_module_room(module, units[index].patched_addr, PF_R | PF_X);
    if (room < units[index].point_offset + 2) return PULP_EINVALIDULP;
    if (room > sizeof units[index].overwritten) room = sizeof units[index].overwritten;
    pulp_copy(units[index].overwritten, (const void *)(uintptr_t)units[index].patched_addr, room);
  }
  return PULP_OK;
}

/* The name is copied under the loader's lock; whether it still means the same object is seen from the handle. */
static uint64_t copy_name(const struct pulp_module *module, void *context) {
  size_t size = pulp_length(module->name) + 1;
  if (size > PATH_MAX) return PULP_EINVALIDULP;
  pulp_copy(context, module->name, size);
  return PULP_OK;
}

/* Holds the target library open, so that the program cannot unload it while it is patched. The program itself never goes. */
static uint64_t pin_target(struct pulp_patch *patch, struct pulp_text *text) {
  char name[PATH_MAX];
  struct link_map *map = NULL;
  uint64_t status = PULP_ENOTARGETLIB;
  *name = 0;
  pulp_module_visit(patch->target_bias, NULL, copy_name, name, &status);
  if (!status && !*name) return PULP_OK;
  void *handle = status ? NULL : dlopen(name, RTLD_NOW | RTLD_NOLOAD);
  if (handle && !dlinfo(handle, RTLD_DI_LINKMAP, &map) && map && map->l_addr == patch->target_bias) {
    patch->target_handle = (uintptr_t)handle;
    return PULP_OK;
  }
  if (handle) dlclose(handle);
  pulp_text_string(text, (const char *)(uintptr_t)patch->record.lib_name);
  pulp_text_string(text, ": cannot be held open");
  return PULP_ENOTARGETLIB;
}

static void release_target(struct pulp_patch *patch) {
  uint64_t handle = patch->target_handle;
  PULP_PUBLISH(patch->target_handle, 0);
  if (handle) dlclose((void *)(uintptr_t)handle);
}

static uint64_t check_target(struct pulp_patch *patch, struct pulp_text *text) {
  uint64_t status = PULP_ENOTARGETLIB;
  pulp_module_visit(patch->target_bias, NULL, read_entries, patch, &status);
  if (!status) return status;
  pulp_text_string(text, (const char *)(uintptr_t)patch->record.lib_name);
  pulp_text_string(text, status == PULP_ENOTARGETLIB  ? ": not loaded at "
                         : status == PULP_EBUILDID    ? ": another build ID at "
                                                      : ": an entry is outside the code of the library at ");
  pulp_text_number(text, patch->target_bias, 16);
  return status;
}

/* SUSE's tool takes a fault in a constructor for the end of its call, and the loader keeps what it has of the container.
 * Opened again, it would come without a word, half constructed: such containers are remembered. */
enum { UNFINISHED_MAX = 16 };
static char opening[PATH_MAX];
static const struct link_map *unfinished[UNFINISHED_MAX];
static uint32_t unfinished_count;

static const struct link_map *map_of(void *handle) {
  struct link_map *map = NULL;
  return handle && !dlinfo(handle, RTLD_DI_LINKMAP, &map) ? map : NULL;
}

static void remember_unfinished(void) {
  if (!*opening) return;
  void *handle = dlopen(opening, RTLD_NOW | RTLD_NOLOAD);
  if (handle) unfinished[unfinished_count++ % UNFINISHED_MAX] = map_of(handle), dlclose(handle);
  *opening = 0;
}

static bool is_unfinished(void *handle) {
  const struct link_map *map = map_of(handle);
  for (uint32_t index = 0; index < UNFINISHED_MAX; index++)
    if (map && unfinished[index] == map) return true;
  return false;
}

/* Its constructors run. */
static void *load(const struct pulp_patch *patch, const char *path, bool is_for_suse) {
  struct pulp_guest guest;
  size_t size = pulp_length(path) + 1;
  if (is_for_suse && size <= sizeof opening) pulp_copy(opening, path, size);
  pulp_guest_enter(&guest, patch->flags & PULP_PATCH_GUEST);
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  pulp_guest_leave(&guest);
  *opening = 0;
  return handle;
}

/* So do its destructors. */
static int close_container(const struct pulp_patch *patch, uint64_t handle) {
  struct pulp_guest guest;
  pulp_guest_enter(&guest, patch->flags & PULP_PATCH_GUEST);
  int result = dlclose((void *)(uintptr_t)handle);
  pulp_guest_leave(&guest);
  return result;
}

/* A container that the loader has already is only referenced: its constructors do not run again. */
static uint64_t open_container(struct pulp_patch *patch, const struct pulp_request *request,
                               const struct pulp_request_patch *from, struct pulp_text *text) {
  const char *path = (const char *)(uintptr_t)patch->record.container_name;
  char memory_path[MEMORY_PATH_MAX];
  uint64_t file = from->flags >> PULP_PATCH_FILE_SHIFT;
  if (file) {
    if (!pulp_memory_path((uint32_t)file - 1, memory_path, sizeof memory_path)) {
      pulp_text_string(text, "the program has closed the memory file");
      return PULP_EDLOPEN;
    }
    path = memory_path;
    patch->flags |= PULP_PATCH_MEMORY;
  }
  remember_unfinished();
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (is_unfinished(handle)) {
    dlclose(handle);
    pulp_text_string(text, path);
    pulp_text_string(text, ": loaded before, by a call that was ended in one of its constructors");
    return PULP_EDLOPEN;
  }
  if (handle) patch->flags |= PULP_PATCH_WAS_LOADED;
  if (!handle) handle = load(patch, path, request->flags & PULP_REQUEST_SUSE);
  if (handle) {
    patch->handle = (uintptr_t)handle;
    return PULP_OK;
  }
  const char *reason = dlerror();
  pulp_text_string(text, reason ? reason : path);
  return PULP_EDLOPEN;
}

static bool is_expected(const struct pulp_module *module, const struct pulp_request *request,
                        const struct pulp_request_patch *from) {
  if (!(request->flags & PULP_REQUEST_SUSE)) return pulp_module_is(module, from->build_id, from->build_id_size);
  return pulp_equal(module->build_id, from->build_id, from->build_id_size);
}

static uint64_t check_container(struct pulp_patch *patch, const struct pulp_request *request,
                                const struct pulp_request_patch *from, struct pulp_text *text) {
  struct link_map *map = NULL;
  struct pulp_module module;
  if (dlinfo((void *)(uintptr_t)patch->handle, RTLD_DI_LINKMAP, &map) || !map ||
      !pulp_module_find(map->l_addr, map->l_name, &module)) {
    pulp_text_string(text, "the loader does not list the container");
    return PULP_EDLOPEN;
  }
  patch->container_base = module.bias;
  patch->container_start = module.start;
  patch->container_end = module.end;
  patch->build_id_size = module.build_id_size;
  pulp_copy(patch->build_id, module.build_id, module.build_id_size);
  if (is_expected(&module, request, from)) return PULP_OK;
  pulp_text_string(text, (const char *)(uintptr_t)patch->record.container_name);
  pulp_text_string(text, ": what was loaded has another build ID than the file that was checked");
  return PULP_EBUILDID;
}

uint64_t pulp_patch_load(const struct pulp_request *request, const struct pulp_request_patch *from,
                         struct pulp_text *text, struct pulp_patch **ret) {
  struct pulp_patch *patch = map_block(request, from);
  if (!patch) return PULP_ENOMEM;
  fill_block(patch, request, from);
  fill_dependencies(patch, request, from);
  uint64_t status = patch->flags & PULP_PATCH_PIN ? pin_target(patch, text) : PULP_OK;
  if (!status) status = check_target(patch, text);
  if (!status) status = open_container(patch, request, from, text);
  if (!status) status = check_container(patch, request, from, text);
  if (!status) {
    *ret = patch;
    return PULP_OK;
  }
  if (patch->handle) close_container(patch, patch->handle);
  release_target(patch);
  munmap(patch, patch->block_size);
  return status;
}

/* Finds all replacements; names those that are missing, one a line. What dlsym finds in another library is missing. */
uint64_t pulp_patch_resolve(struct pulp_patch *patch, const struct pulp_request *request,
                            const struct pulp_request_patch *from, struct pulp_text *text) {
  const struct pulp_request_unit *wanted = (const void *)((const char *)request + from->units_offset);
  struct pulp_unit *units = pulp_patch_units(patch);
  struct pulp_module module;
  uint64_t status = PULP_OK;
  if (!pulp_module_find(patch->container_base, NULL, &module)) return PULP_EUNKNOWN;
  for (uint32_t index = 0; index < patch->unit_count; index++) {
    const char *name = pulp_request_string(request, wanted[index].new_name_offset);
    uint64_t address = (uintptr_t)dlsym((void *)(uintptr_t)patch->handle, name);
    if (address && pulp_module_room(&module, address, PF_X)) {
      units[index].target_addr = address;
      continue;
    }
    pulp_text_line(text, name);
    status = PULP_ENONEWFUNC;
  }
  return status;
}

/* Newest first, in all patches; in order of the request, in the operation. */
void pulp_patch_link(struct pulp_patch *patch) {
  uint64_t *last = &pulp_operation.first_patch;
  patch->next = pulp_patches;
  PULP_PUBLISH(pulp_patches, (uintptr_t)patch);
  while (*last) last = &((struct pulp_patch *)(uintptr_t)*last)->op_next;
  PULP_PUBLISH(*last, (uintptr_t)patch);
}

static void unlink_from(uint64_t *place, uint64_t patch, size_t next_offset) {
  for (; *place; place = (uint64_t *)(uintptr_t)(*place + next_offset))
    if (*place == patch) {
      PULP_PUBLISH(*place, *(uint64_t *)(uintptr_t)(patch + next_offset));
      return;
    }
}

static uint64_t same_build(const struct pulp_module *module, void *context) {
  struct pulp_patch *patch = context;
  return module->start == patch->container_start &&
         pulp_module_is(module, patch->build_id, patch->build_id_size);
}

/* Another block of the same mapped container: it was applied, retired and applied again. */
static struct pulp_patch *namesake(const struct pulp_patch *patch) {
  struct pulp_patch *other = pulp_patch_first();
  while (other && (other == patch || !patch->container_end || other->container_start != patch->container_start ||
                   other->build_id_size != patch->build_id_size ||
                   !pulp_equal(other->build_id, patch->build_id, patch->build_id_size)))
    other = pulp_patch_next(other);
  return other;
}

static void give_block_back(struct pulp_patch *patch) {
  uint64_t address = (uintptr_t)patch;
  unlink_from(&__ulp_state.patches, address, offsetof(struct pulp_patch, record.next));
  unlink_from(&pulp_operation.first_patch, address, offsetof(struct pulp_patch, op_next));
  unlink_from(&pulp_patches, address, offsetof(struct pulp_patch, next));
  munmap(patch, patch->block_size);
}

/* Gives the container back. dlclose succeeds also when the loader keeps the object (NODELETE, thread-local destructors,
 * another reference), so the loader's list decides. The block of a kept one stays linked, with handle 0: it says why that
 * object is there, and dropping it again later looks once more. Of several blocks of one container the last one stays. */
uint64_t pulp_patch_drop(struct pulp_patch *patch) {
  uint64_t still_there = 0, handle = patch->handle;
  PULP_PUBLISH(patch->handle, 0);
  if (handle && close_container(patch, handle)) return PULP_EUNKNOWN;
  release_target(patch);
  bool kept = patch->container_end &&
              pulp_module_visit(patch->container_base, NULL, same_build, patch, &still_there) && still_there;
  if (!kept || namesake(patch)) give_block_back(patch);
  return kept ? PULP_STILL_LOADED : PULP_OK;
}

/* The container stays, its target library is let go. One block is enough to remember it: the handle goes over to an older
 * one that has none, so that nothing here can unload the container. */
void pulp_patch_retire(struct pulp_patch *patch) {
  struct pulp_patch *other = namesake(patch);
  release_target(patch);
  if (!other) return;
  other->flags |= patch->flags & (PULP_PATCH_KEEP | PULP_PATCH_REASON);
  if (!other->handle) {
    PULP_PUBLISH(other->handle, patch->handle);
  } else if (patch->handle) {
    dlclose((void *)(uintptr_t)patch->handle); /* the other one holds it: no destructor runs */
  }
  give_block_back(patch);
}
