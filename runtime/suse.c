/* suse.c: what stands behind SUSE's entry points. Its tool has stopped all threads, diverts the main thread here, takes
 * the next stop for our answer, and then carries out the instruction queue. So an operation is staged as for ulpsh, and
 * the queue does what ulpsh does in its world-stop. All or nothing: when anything is refused, nothing is queued, nothing
 * stays loaded and patching stays possible.
 *
 * arch/ has saved vector state, blocked signals and gives back both; the diverted thread's stack may be small, so that
 * only the question whether the loader may be used is answered on it.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <errno.h>
#include <link.h>

PULP_RARE_CODE

static struct pulp_text answer;
static char answer_text[PULP_MESSAGE_MAX];

static uint64_t begin(void) {
  if (!PULP_OBSERVE(__ulp_state.load_state)) return PULP_EAGAIN;
  if (__ulp_error_state) return (uint64_t)(uint32_t)__ulp_error_state;
  if (!__ulp_ext.call_stack_top) return PULP_EINITFAIL;
  answer = (struct pulp_text){.data = answer_text, .capacity = sizeof answer_text};
  pulp_queue_reset();
  return PULP_OK;
}

/* SUSE's numbers for what only our stage knows. Its runtime says of every name that it cannot resolve that the patch could
 * not be recorded. */
static uint64_t as_suse(uint64_t status) {
  bool is_unresolved = status == PULP_ENONEWFUNC || status == PULP_ENOREFERENCE;
  return is_unresolved || status == PULP_EPOOLFULL || status == PULP_ENOMEM ? PULP_ESTATE : status;
}

static void report(uint64_t status, const char *what, const char *name, uint32_t name_size) {
  char line[PULP_MESSAGE_MAX + 512];
  struct pulp_text message = {.data = line, .capacity = sizeof line - 2};
  pulp_text_string(&message, "ulp: ");
  if (status == PULP_EDLOPEN) pulp_text_string(&message, "Unable to load shared object ");
  else pulp_text_string(&message, what);
  if (name_size > 256) name_size = 256;
  if (name_size < message.capacity - message.size) {
    pulp_copy(line + message.size, name, name_size);
    message.size += name_size;
  }
  if (status) {
    pulp_text_string(&message, ": refused with error ");
    pulp_text_number(&message, status, 10);
  } else {
    pulp_text_string(&message, ": queued");
  }
  if (answer.size) pulp_text_string(&message, ": ");
  uint32_t room = message.capacity - message.size;
  pulp_copy(line + message.size, answer.data, answer.size < room ? answer.size : room);
  message.size += answer.size < room ? answer.size : room;
  while (message.size && line[message.size - 1] == '\n') message.size--;
  line[message.size] = '\n';
  line[message.size + 1] = 0;
  pulp_message_push(line, message.size + 2);
}

/* Staged: hand the rest to the queue. From here on the journal says ARMING, and the universe says whether it happened. */
static uint64_t hand_over(void) {
  PULP_PUBLISH(pulp_operation.state, PULP_OP_ARMING);
  if (pulp_queue_operation(pulp_carried)) return PULP_OK;
  pulp_queue_reset();
  pulp_peek_end();
  pulp_stage_undo();
  return PULP_EINSNQ;
}

/* The entries that are about to be armed must be free of threads as well. If they are not, let them get past: with the
 * two nops merged no other thread can come to stand between them. */
static uint64_t clear_entries(const struct pulp_suse_call *call, const struct pulp_suse_unit *units, uint32_t count) {
  if (call && !pulp_world_check(call, units, count)) return PULP_OK;
  pulp_queue_prepare(units, count);
  if (call) return PULP_EAGAIN;
  uint64_t status = pulp_queue_execute();
  return status ? status : pulp_world_pass(units, count);
}

struct building {
  const struct pulp_wire *wire;
  struct pulp_suse_request *request;
  uint64_t status;
};

static int build(struct dl_phdr_info *info, size_t size, void *context) {
  struct building *building = context;
  (void)info, (void)size;
  building->status = pulp_suse_apply_request(building->wire, building->request, &answer);
  return 1;
}

/* Without a call of SUSE's tool the world runs, and the loader's list is read under the loader's lock. */
static uint64_t apply(const struct pulp_suse_call *call, const struct pulp_wire *wire) {
  struct pulp_suse_request request = {0};
  struct building building = {.wire = wire, .request = &request};
  if (call) build(NULL, 0, &building);
  else dl_iterate_phdr(build, &building);
  uint64_t status = building.status;
  if (!status) status = clear_entries(call, request.units, wire->unit_count);
  if (!status && !pulp_request_valid(request.request, request.request->size)) status = PULP_EINVALIDULP;
  pulp_peek_end(); /* constructors may not return */
  if (!status) status = pulp_stage_request(request.request, &answer);
  if (!status) status = hand_over();
  pulp_suse_request_free(&request);
  return status;
}

static uint64_t revert(uint32_t count, bool (*wanted)(const struct pulp_patch *, const void *), const void *what) {
  struct pulp_suse_request request = {0};
  uint64_t status = pulp_suse_revert_request(count, &request);
  if (status) return status;
  uint8_t *id = (uint8_t *)(request.request + 1);
  for (struct pulp_patch *patch = pulp_patch_first(); patch && count; patch = pulp_patch_next(patch)) {
    if (!pulp_patch_in_force(patch, pulp_universe) || !wanted(patch, what)) continue;
    pulp_copy(id, patch->record.id, 32);
    id += 32, count--;
  }
  status = pulp_stage_request(request.request, &answer);
  if (!status) status = hand_over();
  pulp_suse_request_free(&request);
  return status;
}

static uint32_t count_patches(bool (*wanted)(const struct pulp_patch *, const void *), const void *what) {
  uint32_t count = 0;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    count += pulp_patch_in_force(patch, pulp_universe) && wanted(patch, what);
  return count;
}

static bool has_id(const struct pulp_patch *patch, const void *id) { return pulp_equal(patch->record.id, id, 32); }

static bool is_of_library(const struct pulp_patch *patch, const void *name) {
  return pulp_same_string((const char *)(uintptr_t)patch->record.lib_name, name);
}

static uint64_t trigger(void *context) {
  const struct pulp_suse_call *call = context;
  struct pulp_wire wire;
  int saved = errno;
  uint64_t status = pulp_wire_parse(__ulp_metadata_buffer, PULP_METADATA_BUFFER_SIZE, &wire);
  if (status) {
    report(status, "trigger", "", 0);
    return status;
  }
  pulp_adopt();
  pulp_write_off_lost();
  if (!wire.is_revert) status = apply(call, &wire);
  else if (count_patches(has_id, wire.id)) status = revert(1, has_id, wire.id);
  else status = PULP_ENOTAPPLIED;
  status = as_suse(status);
  if (status != PULP_EAGAIN) {
    report(status, wire.is_revert ? "revert " : "trigger ", wire.path.data, wire.path.size);
    pulp_zero(__ulp_metadata_buffer, PULP_METADATA_BUFFER_SIZE);
  }
  errno = saved;
  return status;
}

static uint64_t revert_all(void *context) {
  char name[1024];
  uint32_t size = 0;
  int saved = errno;
  (void)context;
  while (size < sizeof name - 1 && __ulp_metadata_buffer[size]) size++;
  pulp_copy(name, __ulp_metadata_buffer, size);
  name[size] = 0;
  const char *library = pulp_base_name(name);
  pulp_adopt();
  pulp_write_off_lost();
  uint32_t count = *library ? count_patches(is_of_library, library) : 0;
  uint64_t status = count ? revert(count, is_of_library, library)
                    : *library && pulp_suse_library_loaded(library) ? PULP_ENOPATCH : PULP_ENOTARGETLIB;
  status = as_suse(status);
  report(status, "revert-all ", library, (uint32_t)pulp_length(library));
  errno = saved;
  return status;
}

static uint64_t serve(uint64_t (*function)(void *), const struct pulp_suse_call *call) {
  uint64_t status = begin();
  if (!status) status = pulp_world_check(call, NULL, 0);
  if (!status) status = pulp_on_stack(function, (void *)call, __ulp_ext.call_stack_top);
  pulp_peek_end();
  return status;
}

/* What is in the metadata buffer, on a thread of the program that runs. */
uint64_t pulp_suse_trigger_here(void) {
  uint64_t status = begin();
  if (!status) status = pulp_world_pass(NULL, 0);
  if (!status) status = pulp_on_stack(trigger, NULL, __ulp_ext.call_stack_top);
  if (!status) status = pulp_queue_execute();
  pulp_peek_end();
  return status;
}

uint64_t pulp_suse_trigger(const struct pulp_suse_call *call) { return serve(trigger, call); }
uint64_t pulp_suse_revert_all(const struct pulp_suse_call *call) { return serve(revert_all, call); }

/* 1 when the patch whose id is in the metadata buffer is in force, like SUSE's: never while patching is disabled. */
uint64_t pulp_suse_check_patched(const struct pulp_suse_call *call) {
  (void)call;
  if (__ulp_error_state) return 0;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    if (pulp_equal(patch->record.id, __ulp_metadata_buffer, sizeof patch->record.id) &&
        pulp_patch_in_force(patch, PULP_OBSERVE(pulp_universe)))
      return 1;
  return 0;
}

uint64_t pulp_suse_get_global_universe(const struct pulp_suse_call *call) {
  (void)call;
  return PULP_OBSERVE(pulp_universe);
}

/* Any other state is an error that toggling must not hide. */
uint64_t pulp_suse_enable_or_disable_patching(const struct pulp_suse_call *call) {
  (void)call;
  if (__ulp_error_state == 0) __ulp_error_state = PULP_EUSRBLOCKED;
  else if (__ulp_error_state == PULP_EUSRBLOCKED) __ulp_error_state = 0;
  return (uint64_t)(int64_t)__ulp_error_state;
}
