/* suse_request.c: makes of SUSE's metadata what ulpsh would ask for: the target library found by name and build ID, every
 * function to be replaced at its address, its entry bytes looked at. All refusals that need no loading are made here, so
 * that the rest either succeeds or leaves nothing behind. The loader may be used.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

PULP_RARE_CODE

enum { PADDING = 14, FIELD = 8, POINT = 2, PATH_CAPACITY = 4096, ID_PREFIX = 16 };
#define PAGE_SIZE 4096ull

static bool string_is(const struct pulp_wire_string *string, const char *text) {
  return pulp_length(text) == string->size && pulp_equal(string->data, text, string->size);
}

static void add_string(struct pulp_text *text, const struct pulp_wire_string *string) {
  for (uint32_t index = 0; index < string->size; index++) {
    char character[2] = {string->data[index], 0};
    pulp_text_string(text, character);
  }
}

static uint64_t refuse(struct pulp_text *text, const struct pulp_wire_string *name, const char *reason, uint64_t status) {
  add_string(text, name);
  pulp_text_string(text, reason);
  return status;
}

/* The program has no name in the loader's list. */
static const char *name_of(const struct pulp_object *object, char *path) {
  if (!object->is_program || *object->name) return pulp_base_name(object->name);
  ssize_t size = readlink("/proc/self/exe", path, PATH_CAPACITY - 1);
  path[size > 0 ? size : 0] = 0;
  return pulp_base_name(path);
}

static bool is_named(const struct pulp_object *object, const struct pulp_wire_string *name) {
  char path[PATH_CAPACITY];
  return string_is(name, name_of(object, path)) || (!object->is_program && string_is(name, object->soname));
}

/* Of several with the name the one with the right build ID. The program is known by its build ID as well: its name may be
 * longer than what the kernel keeps of it, or be changed. */
static uint64_t find_target(const struct pulp_wire *wire, struct pulp_object *object, struct pulp_module *module,
                            struct pulp_text *text) {
  bool has_name = false, more = pulp_object_first(object);
  for (; more; more = pulp_object_next(object)) {
    bool named = is_named(object, &wire->target);
    if (!named && !object->is_program) continue;
    pulp_zero(module, sizeof *module);
    if (!pulp_module_find(object->bias, object->name, module)) continue;
    if (wire->build_id_size && pulp_module_is(module, wire->build_id, wire->build_id_size)) return PULP_OK;
    has_name |= named;
  }
  return has_name ? refuse(text, &wire->target, ": the loaded one has another build ID", PULP_EBUILDID)
                  : refuse(text, &wire->target, ": not loaded", PULP_ENOTARGETLIB);
}

bool pulp_suse_library_loaded(const char *name) {
  struct pulp_wire_string wanted = {.data = name, .size = (uint32_t)pulp_length(name)};
  struct pulp_object object;
  for (bool more = pulp_object_first(&object); more; more = pulp_object_next(&object))
    if (is_named(&object, &wanted)) return true;
  return false;
}

/* A detour of ours leads into the pool or to a replacement that the journal knows. */
static bool is_ours(uint64_t entry, uint64_t target) {
  if (target >= (uintptr_t)pulp_pool_start && target < (uintptr_t)pulp_pool_end) return true;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    for (uint32_t index = 0; index < patch->unit_count; index++)
      if (pulp_patch_units(patch)[index].patched_addr == entry && pulp_patch_units(patch)[index].target_addr == target)
        return true;
  return false;
}

static bool crosses_page(uint64_t address, uint64_t size) {
  return (address & ~(PAGE_SIZE - 1)) != ((address + size - 1) & ~(PAGE_SIZE - 1));
}

static uint64_t find_entry(const struct pulp_wire_unit *unit, const struct pulp_object *object,
                           const struct pulp_module *module, struct pulp_suse_unit *ret, struct pulp_text *text) {
  char name[1024];
  struct pulp_function function = {.start = 0};
  struct pulp_entry_form form;
  bool is_known = unit->old_name.size < sizeof name;
  if (is_known) {
    pulp_copy(name, unit->old_name.data, unit->old_name.size);
    name[unit->old_name.size] = 0;
    is_known = pulp_object_function(object, name, &function);
  }
  if (!unit->address && !is_known) return refuse(text, &unit->old_name, ": not in the target library", PULP_ESTATE);
  uint64_t entry = unit->address ? module->bias + unit->address : function.start;
  if (!pulp_module_room(module, entry, PF_X) || pulp_module_room(module, entry - PADDING, PF_X) <= PADDING)
    return refuse(text, &unit->old_name, ": not in the code of the target library", PULP_ENOOLDFUNC);
  if (is_known && function.is_indirect && function.start == entry)
    return refuse(text, &unit->old_name, ": an IFUNC; its implementations can be patched", PULP_ENOPATCHABLE);
  if (!pulp_entry_read(entry, &form))
    return refuse(text, &unit->old_name, ": its entry is not prepared for patching", PULP_ENOPATCHABLE);
  if (form.is_armed && !is_ours(entry, form.target))
    return refuse(text, &unit->old_name, ": diverted by somebody else", PULP_ENOPATCHABLE);
  if (crosses_page(entry + form.point_offset, POINT) || crosses_page(entry - FIELD, FIELD))
    return refuse(text, &unit->old_name, ": what has to be written at once lies on two pages", PULP_ENOPATCHABLE);
  *ret = (struct pulp_suse_unit){.entry = entry, .point_offset = form.point_offset, .has_two_nops = form.has_two_nops};
  return PULP_OK;
}

static bool in_force(const uint8_t *id) {
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    if (pulp_equal(patch->record.id, id, 32) && pulp_patch_in_force(patch, pulp_universe)) return true;
  return false;
}

static uint64_t check_ids(const struct pulp_wire *wire, struct pulp_text *text) {
  for (uint32_t index = 0; index < wire->dependency_count; index++)
    if (!in_force(wire->dependencies + index * 32ull)) {
      pulp_text_string(text, "a patch that this one depends on is not applied");
      return PULP_EDEPEND;
    }
  if (!in_force(wire->id)) return PULP_OK;
  pulp_text_string(text, "applied already");
  return PULP_EAPPLIED;
}

static bool map_request(struct pulp_suse_request *ret, uint64_t units, uint64_t size) {
  ret->size = units * sizeof(struct pulp_suse_unit) + sizeof(struct pulp_request) + size;
  ret->units = mmap(NULL, ret->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (ret->units == MAP_FAILED) return false;
  ret->request = (void *)(ret->units + units);
  ret->request->magic = PULP_REQUEST_MAGIC;
  ret->request->version = PULP_ABI_VERSION;
  ret->request->flags = PULP_REQUEST_SUSE | PULP_REQUEST_DEPENDS;
  ret->request->size = (uint32_t)(sizeof(struct pulp_request) + size);
  return true;
}

void pulp_suse_request_free(struct pulp_suse_request *request) {
  if (request->request) munmap(request->units, request->size);
  request->request = NULL;
}

uint64_t pulp_suse_revert_request(uint32_t count, struct pulp_suse_request *ret) {
  if (!map_request(ret, 0, count * 32ull)) return PULP_ESTATE;
  ret->request->revert_count = count;
  ret->request->reverts_offset = sizeof(struct pulp_request);
  return PULP_OK;
}

static uint32_t put_string(struct pulp_request *request, uint32_t *used, const struct pulp_wire_string *string) {
  uint32_t offset = *used;
  pulp_copy((char *)request + offset, string->data, string->size); /* the mapping's zeros end it */
  *used += string->size + 1;
  return offset;
}

/* The metadata was parsed once: the readers cannot fail here. */
static void fill_request(const struct pulp_wire *wire, const struct pulp_module *target, struct pulp_suse_request *ret) {
  struct pulp_request *request = ret->request;
  struct pulp_request_patch *patch = (void *)(request + 1);
  struct pulp_request_dependencies *dependencies = (void *)(patch + 1);
  struct pulp_request_unit *units = (void *)(dependencies + 1);
  struct pulp_request_reference *references = (void *)(units + wire->unit_count);
  uint32_t used = (uint32_t)((char *)(references + wire->reference_count) - (char *)request);
  struct pulp_wire_reader reader = wire->units;
  request->patch_count = 1;
  request->patches_offset = sizeof *request;
  dependencies->count = wire->dependency_count;
  dependencies->offset = used;
  pulp_copy((char *)request + used, wire->dependencies, wire->dependency_count * 32ull);
  used += wire->dependency_count * 32;
  pulp_copy(patch->id, wire->id, sizeof patch->id);
  pulp_copy(patch->build_id, wire->id, ID_PREFIX);
  patch->build_id_size = ID_PREFIX;
  pulp_copy(patch->target_build_id, wire->build_id, wire->build_id_size);
  patch->target_build_id_size = wire->build_id_size;
  patch->target_bias = target->bias;
  patch->flags = PULP_PATCH_KEEP | PULP_PATCH_REASON; /* SUSE's tool never unloads: its patches need not bear it */
  patch->unit_count = wire->unit_count;
  patch->units_offset = (uint32_t)((char *)units - (char *)request);
  patch->reference_count = wire->reference_count;
  patch->references_offset = (uint32_t)((char *)references - (char *)request);
  patch->path_offset = put_string(request, &used, &wire->path);
  patch->lib_name_offset = put_string(request, &used, &wire->target);
  for (uint32_t index = 0; index < wire->unit_count; index++) {
    struct pulp_wire_unit unit;
    pulp_wire_unit(&reader, &unit);
    units[index].entry = ret->units[index].entry;
    units[index].point_offset = ret->units[index].point_offset;
    units[index].new_name_offset = put_string(request, &used, &unit.new_name);
  }
  reader = wire->references;
  for (uint32_t index = 0; index < wire->reference_count; index++) {
    struct pulp_wire_reference reference;
    pulp_wire_reference(&reader, &reference);
    references[index] = (struct pulp_request_reference){.target_offset = reference.target_offset,
      .patch_offset = reference.patch_offset, .name_offset = put_string(request, &used, &reference.name),
      .tls = reference.tls};
  }
}

uint64_t pulp_suse_apply_request(const struct pulp_wire *wire, struct pulp_suse_request *ret, struct pulp_text *text) {
  struct pulp_object object;
  struct pulp_module module;
  struct pulp_wire_reader reader = wire->units;
  uint64_t status = find_target(wire, &object, &module, text);
  if (!status) status = check_ids(wire, text);
  if (!status && wire->path.data[0] != '/')
    status = refuse(text, &wire->path, ": the container's path is not absolute", PULP_EDLOPEN);
  if (status) return status;
  uint64_t size = sizeof(struct pulp_request_patch) + sizeof(struct pulp_request_dependencies) +
                  wire->unit_count * sizeof(struct pulp_request_unit) +
                  wire->reference_count * sizeof(struct pulp_request_reference) + wire->dependency_count * 32ull +
                  wire->text_size;
  if (!map_request(ret, wire->unit_count, size)) return PULP_ESTATE;
  for (uint32_t index = 0; index < wire->unit_count && !status; index++) {
    struct pulp_wire_unit unit;
    pulp_wire_unit(&reader, &unit);
    status = find_entry(&unit, &object, &module, &ret->units[index], text);
  }
  if (!status) fill_request(wire, &module, ret);
  return status;
}
