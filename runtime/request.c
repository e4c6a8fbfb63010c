/* request.c: is a request well formed? Pure reading; every offset, count and string is held against `size` before
 * anything else of the runtime looks at it, so what comes after needs no bounds of its own.
 */
#include "runtime.h"

enum { STRING_MAX = 16384 }; /* with its NUL: bounds the work when many offsets name one long string */

/* An array's elements are read as words, so it is aligned to them; ids are bytes. */
static bool array_fits(const struct pulp_request *request, uint32_t offset, uint32_t count, uint32_t element,
                       uint32_t alignment) {
  if (!count) return true;
  if (offset < sizeof *request || offset > request->size || offset % alignment) return false;
  return count <= (request->size - offset) / element;
}

static bool string_fits(const struct pulp_request *request, uint32_t offset) {
  const char *bytes = (const char *)request;
  if (offset < sizeof *request || offset >= request->size || !bytes[offset]) return false;
  for (uint32_t index = offset; index < request->size && index - offset < STRING_MAX; index++)
    if (!bytes[index]) return true;
  return false;
}

static bool units_valid(const struct pulp_request *request, const struct pulp_request_patch *patch) {
  const struct pulp_request_unit *units = (const void *)((const char *)request + patch->units_offset);
  if (!patch->unit_count && !patch->reference_count && !(request->flags & PULP_REQUEST_SUSE)) return false;
  if (!array_fits(request, patch->units_offset, patch->unit_count, sizeof *units, 8)) return false;
  for (uint32_t index = 0; index < patch->unit_count; index++) {
    if (units[index].point_offset != 0 && units[index].point_offset != 4) return false;
    if (!string_fits(request, units[index].new_name_offset)) return false;
  }
  return true;
}

static bool references_valid(const struct pulp_request *request, const struct pulp_request_patch *patch) {
  const struct pulp_request_reference *references = (const void *)((const char *)request + patch->references_offset);
  if (!array_fits(request, patch->references_offset, patch->reference_count, sizeof *references, 8)) return false;
  for (uint32_t index = 0; index < patch->reference_count; index++) {
    if (references[index].tls > 1) return false;
    if (!string_fits(request, references[index].name_offset)) return false;
  }
  return true;
}

static bool patch_valid(const struct pulp_request *request, const struct pulp_request_patch *patch) {
  if (!string_fits(request, patch->path_offset) || !string_fits(request, patch->lib_name_offset)) return false;
  if (*pulp_request_string(request, patch->path_offset) != '/') return false; /* never search the host's library path */
  if ((uint32_t)patch->flags & ~(uint32_t)PULP_PATCH_REQUESTED) return false;
  if (patch->flags >> PULP_PATCH_FILE_SHIFT > PULP_MEMORY_FILES) return false;
  if (patch->build_id_size > PULP_BUILD_ID_MAX || patch->target_build_id_size > PULP_BUILD_ID_MAX) return false;
  return units_valid(request, patch) && references_valid(request, patch);
}

/* The patches fit. */
static bool dependencies_valid(const struct pulp_request *request) {
  const struct pulp_request_dependencies *all = (const void *)(pulp_request_patches(request) + request->patch_count);
  if (!(request->flags & PULP_REQUEST_DEPENDS) || !request->patch_count) return true;
  uint32_t offset = (uint32_t)((const char *)all - (const char *)request);
  if (!array_fits(request, offset, request->patch_count, sizeof *all, 8)) return false;
  for (uint32_t index = 0; index < request->patch_count; index++)
    if (!array_fits(request, all[index].offset, all[index].count, 32, 1)) return false;
  return true;
}

bool pulp_request_valid(const struct pulp_request *request, uint32_t capacity) {
  if (request->magic != PULP_REQUEST_MAGIC || request->version != PULP_ABI_VERSION) return false;
  if (request->size < sizeof *request || request->size > capacity) return false;
  if (!request->patch_count && !request->revert_count) return false;
  if (!array_fits(request, request->patches_offset, request->patch_count, sizeof(struct pulp_request_patch), 8))
    return false;
  if (!array_fits(request, request->reverts_offset, request->revert_count, 32, 1)) return false;
  if (!dependencies_valid(request)) return false;
  for (uint32_t index = 0; index < request->patch_count; index++)
    if (!patch_valid(request, &pulp_request_patches(request)[index])) return false;
  return true;
}

const struct pulp_request_patch *pulp_request_patches(const struct pulp_request *request) {
  return (const void *)((const char *)request + request->patches_offset);
}

/* The ids that a patch of the request needs, 32 bytes each. */
const uint8_t *pulp_request_dependencies(const struct pulp_request *request, const struct pulp_request_patch *patch,
                                         uint32_t *count) {
  const struct pulp_request_patch *patches = pulp_request_patches(request);
  const struct pulp_request_dependencies *all = (const void *)(patches + request->patch_count);
  *count = request->flags & PULP_REQUEST_DEPENDS ? all[patch - patches].count : 0;
  return *count ? (const uint8_t *)request + all[patch - patches].offset : NULL;
}

const char *pulp_request_string(const struct pulp_request *request, uint32_t offset) {
  return (const char *)request + offset;
}
