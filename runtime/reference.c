/* reference.c: tells a container where the target library's variables are. Writes into the container's own data only,
 * before any of its functions can be called by a detour.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <dlfcn.h>
#include <link.h>

struct reference {
  const struct pulp_module *container, *target;
  uint64_t place;    /* in the container */
  uint64_t value[2]; /* an address, or {module id, offset} as __tls_get_addr takes it */
  uint32_t size;
};

/* false: the request contradicts the libraries. */
static bool evaluate(struct reference *reference, const struct pulp_request_reference *from) {
  const struct pulp_module *target = reference->target;
  if (from->tls) {
    reference->value[0] = target->tls_module;
    reference->value[1] = from->target_offset;
    reference->size = 16;
    return target->tls_module && from->target_offset < target->tls_size;
  }
  reference->value[0] = target->bias + from->target_offset;
  reference->size = 8;
  return reference->value[0] >= target->start && reference->value[0] <= target->end;
}

static bool find_place(struct reference *reference, const struct pulp_patch *patch,
                       const struct pulp_request_reference *from, const char *name) {
  reference->place = from->patch_offset ? patch->container_base + from->patch_offset
                                        : (uintptr_t)dlsym((void *)(uintptr_t)patch->handle, name);
  return pulp_module_room(reference->container, reference->place, PF_W) >= reference->size;
}

static uint64_t refuse(struct pulp_text *text, const char *name) {
  pulp_text_string(text, name);
  pulp_text_string(text, ": the referenced variable is outside its library");
  return PULP_EINVALIDULP;
}

uint64_t pulp_reference_write_all(struct pulp_patch *patch, const struct pulp_request *request,
                                  const struct pulp_request_patch *from, struct pulp_text *text) {
  const struct pulp_request_reference *wanted = (const void *)((const char *)request + from->references_offset);
  struct pulp_module container, target;
  struct reference reference = {.container = &container, .target = &target};
  uint64_t status = PULP_OK;
  if (!from->reference_count) return PULP_OK;
  if (!pulp_module_find(patch->container_base, NULL, &container)) return PULP_EUNKNOWN;
  if (!pulp_module_find(patch->target_bias, NULL, &target)) return PULP_ENOTARGETLIB;
  for (uint32_t index = 0; index < from->reference_count; index++) {
    const char *name = pulp_request_string(request, wanted[index].name_offset);
    if (!evaluate(&reference, &wanted[index])) return refuse(text, name);
    if (find_place(&reference, patch, &wanted[index], name)) {
      pulp_copy((void *)(uintptr_t)reference.place, reference.value, reference.size);
      continue;
    }
    pulp_text_line(text, name);
    status = PULP_ENOREFERENCE;
  }
  return status;
}
