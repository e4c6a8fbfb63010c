/* transition_test.c: are the transitions right for any stack of versions, and is their cost linear? Random operations are
 * compared with a model that looks at one function at a time; a second thread reads the lists as a tool would, from
 * outside, while they change. argv[1]: the fixtures.
 */
#include "request.h"
#include "tap.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <time.h>

enum { FUNCTIONS = 100, PATCHES = 8 };
static const char *directory;
static struct library target;
static uint64_t entries[FUNCTIONS];
static char paths[PATCHES][4096];

static struct { /* newest last */
  int container, order;
  bool applied, has[FUNCTIONS];
} model[PATCHES];

/* The container whose version of a function is in force: the newest applied one that has it; -1: the original. */
static int model_select(int function) {
  int best = -1;
  for (int i = 0; i < PATCHES; i++)
    if (model[i].applied && model[i].has[function] && (best < 0 || model[i].order > model[best].order)) best = i;
  return best;
}

static uint64_t address_of(int container, int function) {
  char name[32];
  if (container < 0) return entries[function] + 2;
  void *handle = dlopen(paths[container], RTLD_NOW | RTLD_NOLOAD);
  snprintf(name, sizeof name, "t%d_v", function);
  uint64_t address = (uintptr_t)dlsym(handle, name);
  dlclose(handle);
  return address;
}

static atomic_bool finished, torn;
static atomic_int walks;

/* While the generation is even and stays the same, all that a tool can see must be whole, also in the middle of a stage: a
 * block that can be read has its magic, a staged operation has its patches. */
static void *read_from_outside(void *unused) {
  while (!finished) {
    uint64_t generation = __atomic_load_n(&operation->generation, __ATOMIC_ACQUIRE);
    bool suspicious = false;
    if (generation & 1) continue;
    uint64_t at = __atomic_load_n((uint64_t *)AT(ext->patches), __ATOMIC_ACQUIRE);
    for (int steps = 0; at && steps < 100; steps++) {
      struct pulp_patch copy;
      struct iovec to = {&copy, sizeof copy}, from = {AT(at), sizeof copy};
      if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != sizeof copy) break; /* unlinked and unmapped meanwhile */
      if (copy.magic != PULP_PATCH_MAGIC || copy.block_size < sizeof copy || (copy.handle && !copy.container_end))
        suspicious = true;
      at = copy.next;
    }
    struct pulp_operation before = *(volatile struct pulp_operation *)operation;
    if (before.state == PULP_OP_STAGED)
      for (uint32_t i = 0; i < before.transition_count; i++) {
        struct pulp_transition step = ((volatile struct pulp_transition *)transitions)[i];
        struct pulp_slot slot = ((volatile struct pulp_slot *)slots)[step.slot % PULP_POOL_COUNT];
        struct pulp_operation after = *(volatile struct pulp_operation *)operation;
        if (after.state != PULP_OP_STAGED || after.token != before.token || after.universe != before.universe) break;
        if (slot.since != before.universe || slot.entry != step.entry || slot.new_target != step.new_target) suspicious = true;
      }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (operation->generation != generation) continue; /* the tracer changed something meanwhile */
    if (suspicious) torn = true;
    walks++;
  }
  return unused;
}

struct change { int applies[PATCHES], reverts[PATCHES], apply_count, revert_count; };

static struct change choose(void) {
  struct change change = {0};
  for (int i = 0; i < PATCHES; i++) {
    if (rand() % 4) continue;
    if (model[i].applied) change.reverts[change.revert_count++] = i;
    else change.applies[change.apply_count++] = i;
  }
  return change;
}

static void write_request(const struct change *change, uint64_t token) {
  struct pulp_request *request = request_begin(change->apply_count, change->revert_count);
  request->token = token;
  for (int i = 0; i < change->apply_count; i++) {
    int which = change->applies[i], units = 0, unit = 0;
    char id[32], name[32];
    for (int f = 0; f < FUNCTIONS; f++) units += model[which].has[f] = rand() % 3 == 0 || f == which;
    snprintf(id, sizeof id, "patch%d", which);
    struct pulp_request_patch *patch = request_patch(i, id, &target, paths[which], units, 0);
    for (int f = 0; f < FUNCTIONS; f++)
      if (model[which].has[f]) {
        snprintf(name, sizeof name, "t%d_v", f);
        request_unit(patch, unit++, entries[f], 0, name);
      }
  }
  for (int i = 0; i < change->revert_count; i++) {
    char id[32];
    snprintf(id, sizeof id, "patch%d", change->reverts[i]);
    request_revert(i, id);
  }
}

static bool transitions_right(const int *before, const int *after) {
  uint32_t expected = 0;
  for (int f = 0; f < FUNCTIONS; f++) {
    struct pulp_transition *found = NULL;
    for (uint32_t i = 0; i < operation->transition_count; i++)
      if (transitions[i].entry == entries[f]) {
        if (found) return false;
        found = &transitions[i];
      }
    if (before[f] == after[f]) {
      if (found) return false;
      continue;
    }
    expected++;
    if (!found || found->old_target != address_of(before[f], f) || found->new_target != address_of(after[f], f)) return false;
  }
  return operation->transition_count == expected;
}

static void test_model(void) {
  pthread_t reader;
  int rounds = 0, wrong = 0, aborted = 0, order = 0, transitions_seen = 0;
  bool undone = true, bytes = true;
  srand(1);
  pthread_create(&reader, NULL, read_from_outside, NULL);
  for (int round = 0; round < 1500 || (round < 100000 && walks <= 100); round++) { /* the reader may hardly run */
    if (round >= 1500) usleep(200);
    struct change change = choose();
    int before[FUNCTIONS], after[FUNCTIONS];
    if (!change.apply_count && !change.revert_count) continue;
    for (int f = 0; f < FUNCTIONS; f++) before[f] = model_select(f);
    write_request(&change, round);
    for (int i = 0; i < change.apply_count; i++) model[change.applies[i]].applied = true, model[change.applies[i]].order = ++order;
    for (int i = 0; i < change.revert_count; i++) model[change.reverts[i]].applied = false;
    for (int f = 0; f < FUNCTIONS; f++) after[f] = model_select(f);
    if (stage() != PULP_OK || !transitions_right(before, after)) wrong++;
    rounds++;
    transitions_seen += operation->transition_count;
    for (uint64_t at = operation->first_patch; at; at = ((struct pulp_patch *)AT(at))->op_next) {
      struct pulp_unit *units = AT(((struct pulp_patch *)AT(at))->record.units);
      for (uint32_t i = 0; i < ((struct pulp_patch *)AT(at))->unit_count; i++)
        bytes &= !memcmp(units[i].overwritten, "\x90\x90", 2);
    }
    __atomic_fetch_add(&operation->generation, 1, __ATOMIC_SEQ_CST);
    if (rand() % 4 == 0) {
      aborted++;
      undone &= abort_operation();
      for (int i = 0; i < change.apply_count; i++) model[change.applies[i]].applied = false;
      for (int i = 0; i < change.revert_count; i++) model[change.reverts[i]].applied = true;
      __atomic_fetch_add(&operation->generation, 1, __ATOMIC_SEQ_CST);
      continue;
    }
    /* As after settling: the entries of patched functions do not show the original bytes any more. */
    commit();
    for (int i = 0; i < change.revert_count; i++) {
      char id[32];
      snprintf(id, sizeof id, "patch%d", change.reverts[i]);
      undone &= unload((uintptr_t)find_patch(id)) == PULP_OK;
    }
    __atomic_fetch_add(&operation->generation, 1, __ATOMIC_SEQ_CST);
  }
  finished = true;
  pthread_join(reader, NULL);
  is(wrong, 0, "transitions agree with the model");
  ok(rounds > 1000 && transitions_seen > 10000 && aborted > 100, "%d operations, %d transitions, %d aborted", rounds,
     transitions_seen, aborted);
  ok(undone && !used_slots(), "aborts and unloads leave nothing");
  ok(bytes, "overwritten bytes are those before the first patch");
  ok(!torn && walks > 100, "a reader from outside never saw a torn state (%d walks)", (int)walks);
}

/* An entry that already carries a detour: the next version remembers what the first one saw. */
static void test_overwritten(void) {
  uint64_t entry = entries[50];
  struct change one = {.applies = {0}, .apply_count = 1}, two = {.applies = {1}, .apply_count = 1};
  while (first_patch()) { /* start from nothing */
    request_begin(0, 1);
    memcpy((char *)AT(ext->request) + sizeof(struct pulp_request), first_patch()->record.id, 32);
    stage(), commit(), unload((uintptr_t)first_patch());
  }
  for (int i = 0; i < PATCHES; i++) model[i].applied = false;
  write_request(&one, 1);
  struct pulp_request_patch *patch = (void *)((char *)AT(ext->request) + sizeof(struct pulp_request));
  request_unit(patch, 0, entry, 0, "t50_v");
  is(stage(), PULP_OK, "first version");
  commit();
  mprotect(AT(entry & ~4095ull), 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
  memcpy(AT(entry), "\xeb\xf0", 2);
  write_request(&two, 2);
  patch = (void *)((char *)AT(ext->request) + sizeof(struct pulp_request));
  request_unit(patch, 0, entry, 0, "t50_v");
  is(stage(), PULP_OK, "second version");
  struct pulp_unit *unit = AT(first_patch()->record.units);
  ok(unit->patched_addr == entry && !memcmp(unit->overwritten, "\x90\x90", 2), "inherits the original bytes");
  is(transitions[0].old_target, address_of(0, 50), "leads from the first version");
  abort_operation();
  memcpy(AT(entry), "\x90\x90", 2);
  request_unit(patch, 0, entry, 4, "t50_v");
  is(stage(), PULP_EINVALIDULP, "the same entry with another point offset");
  *(uint64_t *)AT(ext->patches) = 0;
}

static double stage_big(const struct library *big, const char *path, int functions, int versions) {
  double best = 1e9;
  for (int version = 0; version < versions; version++) {
    struct pulp_request_patch *patch;
    char id[32], name[32];
    struct timespec start, end;
    snprintf(id, sizeof id, "big%d", version);
    request_begin(1, 0);
    patch = request_patch(0, id, big, path, functions, 0);
    for (int i = 0; i < functions; i++) {
      snprintf(name, sizeof name, "big%d", i);
      uint64_t entry = (uintptr_t)dlsym(big->handle, name);
      strcat(name, "_v");
      request_unit(patch, i, entry, 0, name);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start); /* not what others take from us */
    uint64_t status = stage();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    if (status) printf("# status %lu: %.*s\n", status, (int)mailbox->text_size, mailbox->text);
    if (status || operation->transition_count != (version ? 0u : (uint32_t)functions)) return -1;
    double ms = (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6;
    if (ms < best) best = ms;
    commit();
  }
  *(uint64_t *)AT(ext->patches) = 0;
  return best;
}

static void test_linear(void) {
  struct library big = open_library(directory, "libbig.so");
  char path[4200];
  snprintf(path, sizeof path, "%s/bigpatch.so", directory);
  dlopen(path, RTLD_NOW); /* compare what we do, not the loader's part */
  double small = 1e9, large = 1e9;
  for (int attempt = 0; attempt < 20 && !(large < small * 30); attempt++) { /* the least is what it costs undisturbed */
    small = fmin(small, stage_big(&big, path, 500, 5));
    large = fmin(large, stage_big(&big, path, 5000, 5));
  }
  ok(small > 0 && large > 0 && large < small * 30, "5 stacked versions: 500 functions %.2f ms, 5000 functions %.2f ms",
     small, large);
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  directory = arguments[1];
  find_runtime();
  target = open_library(directory, "libtarget.so");
  for (int f = 0; f < FUNCTIONS; f++) {
    char name[32];
    snprintf(name, sizeof name, "t%d", f);
    entries[f] = (uintptr_t)dlsym(target.handle, name);
  }
  for (int i = 0; i < PATCHES; i++) snprintf(paths[i], sizeof paths[i], "%s/container%d.so", directory, i);
  test_model();
  test_overwritten();
  test_linear();
  return done();
}
