/* stage.c: what the carrier does while the program runs: load, check, resolve, prepare. It changes no code of the host
 * and nothing of what calls reach; either the operation is STAGED at the end, or all of it is undone and the mailbox says
 * why. errno belongs to the borrowed thread and is given back as it was.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <errno.h>

static struct pulp_text mailbox_text(void) {
  return (struct pulp_text){.data = pulp_mailbox.text, .capacity = PULP_MESSAGE_MAX};
}

static void begin(const struct pulp_request *request) {
  struct pulp_operation *operation = &pulp_operation;
  operation->transition_count = pulp_carried;
  operation->universe = pulp_universe + 1;
  operation->owner_pid = request->owner_pid;
  operation->owner_start = request->owner_start;
  operation->token = request->token;
  operation->tool_pid = request->tool_pid;
  operation->first_patch = 0;
  PULP_PUBLISH(operation->state, PULP_OP_STAGING);
}

/* The newest patch in force with that id, unless this operation leaves it already. */
static struct pulp_patch *find_applied(const uint8_t *id) {
  struct pulp_patch *patch = pulp_patch_first();
  while (patch && !(pulp_equal(patch->record.id, id, sizeof patch->record.id) && !patch->reverted_universe &&
                    pulp_patch_in_force(patch, pulp_universe)))
    patch = pulp_patch_next(patch);
  return patch;
}

static void add_id(struct pulp_text *text, const uint8_t *id) {
  for (unsigned byte = 0; byte < 32; byte++) {
    char digits[3] = {"0123456789abcdef"[id[byte] >> 4], "0123456789abcdef"[id[byte] & 15], 0};
    pulp_text_string(text, digits);
  }
}

static uint64_t mark_reverts(const struct pulp_request *request, struct pulp_text *text) {
  const uint8_t *id = (const uint8_t *)request + request->reverts_offset;
  for (uint32_t index = 0; index < request->revert_count; index++, id += 32) {
    struct pulp_patch *patch = find_applied(id);
    if (patch) {
      PULP_PUBLISH(patch->reverted_universe, pulp_operation.universe);
      continue;
    }
    add_id(text, id);
    pulp_text_string(text, ": not in force");
    return PULP_ENOTAPPLIED;
  }
  return PULP_OK;
}

/* Whether this operation leaves the patches of an id without one in force in the universe that it leads to. */
static bool is_left(const uint8_t *id) {
  bool left = false;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!pulp_equal(patch->record.id, id, sizeof patch->record.id)) continue;
    if (pulp_patch_in_force(patch, pulp_operation.universe)) return false;
    left |= patch->reverted_universe == pulp_operation.universe;
  }
  return left;
}

/* What stays or comes must not need what is left. */
static uint64_t check_dependents(struct pulp_text *text) {
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!pulp_patch_in_force(patch, pulp_operation.universe)) continue;
    const struct pulp_dependency *needed = (void *)(uintptr_t)patch->record.dependencies;
    for (; needed; needed = (void *)(uintptr_t)needed->next) {
      if (!is_left(needed->id)) continue;
      pulp_text_string(text, (const char *)(uintptr_t)patch->record.container_name);
      pulp_text_string(text, " is in force and depends on ");
      add_id(text, needed->id);
      return PULP_EDEPEND;
    }
  }
  return PULP_OK;
}

typedef uint64_t patch_step(struct pulp_patch *, const struct pulp_request *, const struct pulp_request_patch *,
                            struct pulp_text *);

/* Every patch is asked, so that all missing names are known after one attempt; the first refusal counts. */
static uint64_t for_each_patch(const struct pulp_request *request, struct pulp_text *text, patch_step *step) {
  const struct pulp_request_patch *from = pulp_request_patches(request);
  uint64_t status = PULP_OK;
  for (uint64_t at = pulp_operation.first_patch; at; at = ((struct pulp_patch *)(uintptr_t)at)->op_next) {
    uint64_t result = step((void *)(uintptr_t)at, request, from++, text);
    if (!status) status = result;
    if (result && result != PULP_ENONEWFUNC && result != PULP_ENOREFERENCE) break;
  }
  pulp_text_finish_lines(text);
  return status;
}

static uint64_t load_all(const struct pulp_request *request, struct pulp_text *text) {
  for (uint32_t index = 0; index < request->patch_count; index++) {
    struct pulp_patch *patch;
    uint64_t status = pulp_patch_load(request, &pulp_request_patches(request)[index], text, &patch);
    if (status) return status;
    pulp_patch_link(patch);
  }
  return PULP_OK;
}

static uint64_t prepare(const struct pulp_request *request, struct pulp_text *text) {
  uint64_t status = load_all(request, text);
  if (!status) status = for_each_patch(request, text, pulp_patch_resolve);
  if (!status) status = for_each_patch(request, text, pulp_reference_write_all);
  if (!status) status = mark_reverts(request, text);
  if (status) return status;
  for (uint64_t at = pulp_operation.first_patch; at; at = ((struct pulp_patch *)(uintptr_t)at)->op_next)
    PULP_PUBLISH(((struct pulp_patch *)(uintptr_t)at)->applied_universe, pulp_operation.universe);
  status = check_dependents(text);
  return status ? status : pulp_transition_prepare(pulp_operation.universe);
}

/* In the reverse order. A container that the loader keeps stays listed as retired: applied never. */
void pulp_stage_undo(void) {
  pulp_transition_clear();
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (patch->reverted_universe == pulp_operation.universe) PULP_PUBLISH(patch->reverted_universe, 0);
    if (patch->applied_universe == pulp_operation.universe) PULP_PUBLISH(patch->applied_universe, PULP_NEVER);
  }
  while (pulp_operation.first_patch) {
    struct pulp_patch *patch = (void *)(uintptr_t)pulp_operation.first_patch;
    PULP_PUBLISH(pulp_operation.first_patch, patch->op_next);
    patch->op_next = 0;
    pulp_patch_drop(patch);
  }
  if (pulp_carried) pulp_adopt_rest();
  else PULP_PUBLISH(pulp_operation.state, PULP_OP_IDLE);
}

static void report(uint64_t status, struct pulp_text *text) {
  char line[PULP_MESSAGE_MAX + 128];
  struct pulp_text message = {.data = line, .capacity = sizeof line - 2};
  PULP_PUBLISH(pulp_mailbox.text_size, text->size);
  pulp_text_string(&message, status ? "ulp: stage: refused with status " : "ulp: stage: ready, functions: ");
  pulp_text_number(&message, status ? status : pulp_operation.transition_count, 10);
  if (text->size) pulp_text_string(&message, status == PULP_EDLOPEN ? ": Unable to load shared object " : ": ");
  pulp_copy(line + message.size, text->data, text->size < message.capacity - message.size
                                                 ? text->size : message.capacity - message.size);
  message.size += text->size;
  while (message.size && line[message.size - 1] == '\n') message.size--;
  line[message.size] = '\n';
  line[message.size + 1] = 0;
  /* A process that is patched ten thousand times does not fill its ring with the same line. */
  if (status || !pulp_message_is_newest(line, message.size + 2)) pulp_message_push(line, message.size + 2);
}

static uint64_t refuse_at_once(const struct pulp_request *request, struct pulp_text *text) {
  if (!PULP_OBSERVE(__ulp_state.load_state)) return PULP_EINITFAIL;
  if (__ulp_error_state) return (uint64_t)(uint32_t)__ulp_error_state;
  if (PULP_OBSERVE(pulp_operation.state) != PULP_OP_IDLE) {
    pulp_text_string(text, "an operation is pending");
    return PULP_ESTATE;
  }
  if (pulp_request_valid(request, PULP_METADATA_BUFFER_SIZE)) return PULP_OK;
  pulp_text_string(text, "the request is malformed");
  return PULP_EINVALIDULP;
}

/* Nothing is pending, and the request is well formed. */
uint64_t pulp_stage_request(const struct pulp_request *request, struct pulp_text *text) {
  begin(request);
  uint64_t status = prepare(request, text);
  if (status) pulp_stage_undo();
  else PULP_PUBLISH(pulp_operation.state, PULP_OP_STAGED);
  return status;
}

uint64_t pulp_stage(void) {
  const struct pulp_request *request = (const void *)__ulp_metadata_buffer;
  struct pulp_text text = mailbox_text();
  int saved = errno;
  PULP_PUBLISH(pulp_mailbox.text_size, 0);
  uint64_t status = refuse_at_once(request, &text);
  if (!status) {
    pulp_carried = 0;
    status = pulp_stage_request(request, &text);
  }
  pulp_memory_close();
  report(status, &text);
  errno = saved;
  return status;
}
