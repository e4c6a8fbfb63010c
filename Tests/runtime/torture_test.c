/* torture_test.c: functions are armed, switched by one store of the universe and settled, over and over, while threads
 * call them and check what comes back. This process plays the tracer for itself: it writes text through /proc/self/mem,
 * and where the tracer would stop the world, the workers park outside the functions. argv[1]: the fixtures.
 */
#include "request.h"
#include "tap.h"
#include <pthread.h>
#include <stdatomic.h>

enum { LIBRARIES = 4, FUNCTIONS = 16, ALL = LIBRARIES * FUNCTIONS, VERSIONS = 5, WORKERS = 3, PADDING = 14 };
static const char *library_names[LIBRARIES] = {"torture_plain.so", "torture_cet.so", "torture_wide.so", "torture_wide_cet.so"};
static const char *directory;
static struct library libraries[LIBRARIES];
static struct function {
  uint64_t entry, point;
  uint32_t point_offset;
  bool armed, prepared;
} functions[ALL];
typedef long full(long, long, long, long, long, long, long, long, double, double);
typedef long variadic(long, ...);

enum { LEAST_ROUNDS = 600, MOST_ROUNDS = 16000 };
static uint8_t expected[1 << 14][ALL]; /* version of each function in each universe */
static atomic_bool quit, park;
static atomic_int parked;
static atomic_ulong loops, stable, wrong_version, wrong_arguments;
static int text;

static void write_text(uint64_t address, const void *bytes, size_t size) {
  if (pwrite(text, bytes, size, (off_t)address) != (ssize_t)size) exit(1);
}

static long call_one(int which, long a) {
  if (which % FUNCTIONS < 10)
    return ((full *)AT(functions[which].entry))(a, a + 1, a + 2, a + 3, a + 4, a + 5, a + 6, a + 7, a + 0.5, a + 1.5);
  return ((variadic *)AT(functions[which].entry))(a, a + 1, a + 2, a + 3, a + 4, a + 5, a + 6, a + 7, a + 0.5, a + 1.5);
}

static void *work(void *argument) {
  long seed = (long)(intptr_t)argument;
  long results[ALL];
  while (!quit) {
    if (park) {
      parked++;
      while (park && !quit) usleep(50);
      parked--;
    }
    uint64_t before = *universe;
    for (int i = 0; i < ALL; i++) results[i] = call_one(i, seed++);
    uint64_t after = *universe;
    loops++;
    stable += before == after;
    for (int i = 0; i < ALL; i++) {
      long version = results[i] - i % FUNCTIONS * 1000;
      if (results[i] < 0) wrong_arguments++;
      else if (before == after && version != expected[before][i]) wrong_version++;
      else if (version < 0 || version > VERSIONS) wrong_version++;
    }
  }
  return NULL;
}

static void stop_world(void) {
  park = true;
  while (parked < WORKERS) usleep(20);
}
static void go_on(void) {
  park = false;
  while (parked) usleep(20);
}

/* Two nops must be one before a thread may be caught between them; gcc writes 90 90. */
static void prepare_points(void) {
  for (int i = 0; i < ALL; i++) {
    uint8_t *point = AT(functions[i].point);
    functions[i].prepared = point[0] == 0x90 && point[1] == 0x90;
    if (functions[i].prepared) write_text(functions[i].point, "\x66", 1);
  }
}

static void write_detour(const struct function *function, uint64_t target) {
  uint8_t bytes[14] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *0(%rip) */
  memcpy(bytes + 6, &target, 8);
  write_text(function->entry - PADDING, bytes, sizeof bytes);
}

static struct function *function_at(uint64_t entry) {
  for (int i = 0; i < ALL; i++)
    if (functions[i].entry == entry) return &functions[i];
  return NULL;
}

/* Padding first, then the point. Armed functions are re-pointed, which only a stopped world allows. */
static void arm(bool stopped) {
  for (uint32_t i = 0; i < operation->transition_count; i++) {
    struct function *function = function_at(transitions[i].entry);
    if (function->armed && !stopped) exit(1);
    write_detour(function, ext->pool_start + transitions[i].slot * PULP_STUB_SIZE);
  }
  for (uint32_t i = 0; i < operation->transition_count; i++) {
    struct function *function = function_at(transitions[i].entry);
    uint8_t jump[2] = {0xeb, (uint8_t)(-PADDING - 2 - (int)function->point_offset)};
    if (!function->armed) write_text(function->point, jump, 2);
    function->armed = true;
  }
}

/* Straight to what is in force, or back to the nops; then nothing leads through the slots. */
static void settle(void) {
  for (uint32_t i = 0; i < operation->transition_count; i++) {
    struct function *function = function_at(transitions[i].entry);
    function->armed = transitions[i].new_target != function->point + 2;
    if (function->armed) write_detour(function, transitions[i].new_target);
    else write_text(function->point, "\x66\x90", 2);
  }
  free_slots();
}

static struct { bool applied; int order; bool has[ALL]; } model[VERSIONS + 1];

static void fill_expected(uint64_t at) {
  for (int i = 0; i < ALL; i++) {
    int best = 0;
    for (int v = 1; v <= VERSIONS; v++)
      if (model[v].applied && model[v].has[i] && (!best || model[v].order > model[best].order)) best = v;
    expected[at][i] = best;
  }
}

/* One version is applied to all libraries, or left in all of them, as one set. */
static void write_request(int version, bool apply) {
  char id[32], path[4200], name[32];
  request_begin(apply ? LIBRARIES : 0, apply ? 0 : LIBRARIES);
  for (int l = 0; l < LIBRARIES; l++) {
    snprintf(id, sizeof id, "v%d-%d", version, l);
    if (!apply) {
      request_revert(l, id);
      continue;
    }
    int units = 0, unit = 0;
    for (int f = 0; f < FUNCTIONS; f++) units += model[version].has[l * FUNCTIONS + f] = f == 0 || rand() % 2;
    snprintf(path, sizeof path, "%s/torture%d-%d.so", directory, version, l);
    struct pulp_request_patch *patch = request_patch(l, id, &libraries[l], path, units, 0);
    for (int f = 0; f < FUNCTIONS; f++)
      if (model[version].has[l * FUNCTIONS + f]) {
        struct function *function = &functions[l * FUNCTIONS + f];
        snprintf(name, sizeof name, "torture%d_v", f);
        request_unit(patch, unit++, function->entry, function->point_offset, name);
      }
  }
}

static bool unload_version(int version) {
  bool all = true;
  for (int l = 0; l < LIBRARIES; l++) {
    char id[32];
    snprintf(id, sizeof id, "v%d-%d", version, l);
    all &= unload((uintptr_t)find_patch(id)) == PULP_OK;
  }
  return all;
}

static bool round_once(int order, int *aborted) {
  int version = 1 + rand() % VERSIONS;
  bool apply = !model[version].applied, fresh = true, all = true;
  write_request(version, apply);
  if (stage() != PULP_OK) return false;
  for (uint32_t i = 0; i < operation->transition_count; i++) fresh &= !function_at(transitions[i].entry)->armed;
  if (!fresh || rand() % 2) stop_world();
  bool stopped = park;
  arm(stopped);
  if (stopped && rand() % 2) go_on(), stopped = false; /* armed, not committed: everything must be old */
  if (rand() % 2) usleep(rand() % 1000);
  if (rand() % 5 == 0) { /* abort: back to what was in force */
    if (!stopped) stop_world();
    for (uint32_t i = 0; i < operation->transition_count; i++) transitions[i].new_target = transitions[i].old_target;
    settle();
    all &= abort_operation();
    go_on();
    ++*aborted;
    return all;
  }
  model[version].applied = apply;
  model[version].order = order;
  fill_expected(operation->universe);
  *universe = operation->universe; /* the commit */
  if (rand() % 2) usleep(rand() % 1000);
  if (!stopped) stop_world();
  settle();
  go_on();
  leave_operation();
  return all && (apply || unload_version(version));
}

static void find_functions(void) {
  for (int i = 0; i < ALL; i++) {
    char name[32];
    snprintf(name, sizeof name, "torture%d", i % FUNCTIONS);
    uint8_t *entry = dlsym(libraries[i / FUNCTIONS].handle, name);
    functions[i].entry = (uintptr_t)entry;
    functions[i].point_offset = memcmp(entry, "\xf3\x0f\x1e\xfa", 4) ? 0 : 4;
    functions[i].point = functions[i].entry + functions[i].point_offset;
  }
}

int main(int count, char **arguments) {
  pthread_t workers[WORKERS];
  int failed = 0, aborted = 0, rounds = 0, prepared = 0, with_endbr = 0;
  if (count < 2) return 2;
  directory = arguments[1];
  find_runtime();
  text = open("/proc/self/mem", O_RDWR);
  for (int l = 0; l < LIBRARIES; l++) libraries[l] = open_library(directory, library_names[l]);
  find_functions();
  prepare_points();
  for (int i = 0; i < ALL; i++) prepared += functions[i].prepared, with_endbr += functions[i].point_offset == 4;
  is(prepared, ALL - FUNCTIONS, "points with one-byte nops; one library has two-byte nops");
  is(with_endbr, ALL / 2, "points behind endbr64");
  for (intptr_t i = 0; i < WORKERS; i++) pthread_create(&workers[i], NULL, work, (void *)(i * 1000003));
  srand(7);
  /* The workers get as many rounds as it takes until they have seen enough. */
  for (int round = 0; round < LEAST_ROUNDS || (round < MOST_ROUNDS && (loops <= 1000 || stable <= 1000)); round++, rounds++) {
    failed += !round_once(round + 1, &aborted);
    if (round >= LEAST_ROUNDS) usleep(1000);
  }
  quit = true;
  for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
  is(failed, 0, "every stage, abort and unload succeeded");
  is(wrong_version, 0, "no call reached another version than its universe's");
  is(wrong_arguments, 0, "8 integers, 2 doubles and variadic arguments arrived");
  is(used_slots(), 0, "every slot was given back");
  ok(loops > 1000 && stable > 1000 && aborted > 60, "%lu loops over %d functions, %lu with one universe, %d rounds, %d aborted",
     (unsigned long)loops, ALL, (unsigned long)stable, rounds, aborted);
  return done();
}
