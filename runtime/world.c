/* world.c: may the loader and the allocator be used now, with every other thread stopped wherever it was? Nothing was
 * interposed, so nothing was counted: the kernel tells each thread's place in /proc/self/task/TID/syscall, and the words
 * of its stack tell who called: by unwinding, or, where that does not reach the thread's beginning, by taking each word
 * for a return address. One into the allocator, the loader, fork and the like means "not now"; so does everything that
 * cannot be read. General registers, plain system calls, no libc.
 *
 * The thread that runs here was diverted, and nobody says from where. By itself it can know for sure that it was in a system
 * call, which the kernel was about to restart (arch/x86_64/entry.S) or had ended with EINTR. Elsewhere what its tracer has
 * saved tells, if the kernel lets that be read (saved.c).
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"
#include <errno.h>
#include <time.h>

PULP_RARE_CODE

enum { RANGE_MAX = 80, WAIT_COUNT = 3, CHUNK = 16384, RED_ZONE = 128, PADDING = 14 };

static struct {
  struct pulp_range ranges[RANGE_MAX]; /* code in which locks are held */
  uint32_t count;
  struct pulp_range bounds;       /* of all of them */
  struct pulp_range allocator;    /* code of one that is not libc's */
  struct pulp_range libc;
  struct pulp_range waits[WAIT_COUNT]; /* on condition variables */
  struct pulp_range entry_bounds; /* of all entries that may be in transit */
  const struct pulp_suse_unit *units; /* about to be armed */
  uint32_t unit_count;
  bool asks_for_transit; /* and for nothing else: the world runs, and a taken lock is only waited for */
  uint64_t words[CHUNK / 8];
  char listing[4096];
} world;

/* Where locks are held */

static void add_range(uint64_t start, uint64_t end) {
  if (start >= end || world.count == RANGE_MAX) return;
  world.ranges[world.count++] = (struct pulp_range){start, end};
  if (start < world.bounds.start) world.bounds.start = start;
  if (end > world.bounds.end) world.bounds.end = end;
}

static const char *const allocator[] = {"malloc", "free", "calloc", "realloc", "memalign", "valloc", "pvalloc",
  "posix_memalign", "aligned_alloc", "malloc_trim", "malloc_usable_size", "malloc_stats", "malloc_info", "mallinfo",
  "mallinfo2", "mallopt"};

/* Of the C library: what takes locks that loading a container needs as well, the loader's, the allocator's, those of
 * thread stacks, of exit handlers and of locales. */
static const char *const lockers[] = {"fork", "_Fork", "vfork", "dl_iterate_phdr", "dlopen", "dlmopen", "dlclose",
  "dlsym", "dlvsym", "dladdr", "dladdr1", "dlinfo", "dlerror", "pthread_create", "pthread_exit", "pthread_join",
  "pthread_tryjoin_np", "pthread_timedjoin_np", "pthread_clockjoin_np", "pthread_detach", "pthread_cancel",
  "pthread_getattr_np", "pthread_key_create", "pthread_atfork", "__register_atfork", "__cxa_atexit",
  "__cxa_at_quick_exit", "__cxa_thread_atexit_impl", "__cxa_finalize", "on_exit", "exit", "quick_exit",
  /* the locale's: a loader that refuses has its message translated */
  "setlocale", "newlocale", "duplocale", "freelocale", "textdomain", "bindtextdomain", "bind_textdomain_codeset",
  "dcgettext", "dcngettext", "dgettext", "dngettext", "gettext", "ngettext"};

static struct pulp_range text_of(uint64_t bias) {
  struct pulp_range text[8], all = {PULP_NEVER, 0};
  uint32_t count = pulp_object_text(bias, text, 8);
  for (uint32_t index = 0; index < count; index++) {
    if (text[index].start < all.start) all.start = text[index].start;
    if (text[index].end > all.end) all.end = text[index].end;
  }
  return all;
}

static void find_waits(const struct pulp_object *libc) {
  static const char *const names[WAIT_COUNT] = {"pthread_cond_wait", "pthread_cond_timedwait", "pthread_cond_clockwait"};
  struct pulp_function function;
  world.libc = text_of(libc->bias);
  for (uint32_t index = 0; index < WAIT_COUNT; index++)
    if (pulp_object_function(libc, names[index], &function))
      world.waits[index] = (struct pulp_range){function.start, function.end};
}

/* libc's allocator is one object file: its local functions lie among and around the exported ones. */
static bool add_allocator_of_libc(const struct pulp_object *libc) {
  struct pulp_range range = {PULP_NEVER, 0};
  struct pulp_function function;
  for (uint32_t index = 0; index < sizeof allocator / sizeof *allocator; index++) {
    if (!pulp_object_function(libc, allocator[index], &function)) continue;
    if (function.start < range.start) range.start = function.start;
    if (function.end > range.end) range.end = function.end;
  }
  if (!range.end) return false;
  pulp_object_widen(libc, &range);
  add_range(range.start, range.end);
  for (uint32_t index = 0; index < sizeof lockers / sizeof *lockers; index++)
    if (pulp_object_function(libc, lockers[index], &function)) add_range(function.start, function.end);
  return true;
}

/* false: cannot be told, for instance because the loader is changing its list. */
static bool find_lock_holders(void) {
  struct pulp_object object;
  struct pulp_function function;
  bool has_libc = false, has_allocator = false;
  uint64_t loader = pulp_loader_base();
  world.count = 0;
  world.bounds = (struct pulp_range){PULP_NEVER, 0};
  world.allocator = world.libc = (struct pulp_range){0, 0};
  pulp_zero(world.waits, sizeof world.waits);
  if (!loader || !pulp_object_first(&object)) return false;
  struct pulp_range text = text_of(loader);
  add_range(text.start, text.end);
  if (!world.count) return false;
  do {
    if (object.bias == loader) continue;
    bool is_libc = pulp_same_string(object.soname, "libc.so.6");
    if (is_libc) has_libc |= add_allocator_of_libc(&object), find_waits(&object);
    else if (!has_allocator && pulp_object_function(&object, "malloc", &function)) {
      add_range(function.start, function.end);
      world.allocator = text_of(object.bias); /* another allocator: all of its code */
      add_range(world.allocator.start, world.allocator.end);
    }
    has_allocator |= is_libc || pulp_object_function(&object, "malloc", &function);
  } while (pulp_object_next(&object));
  return has_libc && world.count < RANGE_MAX;
}

static bool lies_in(const struct pulp_range *range, uint64_t address) {
  return address >= range->start && address < range->end;
}

static bool waits_at(uint64_t address) {
  for (uint32_t index = 0; index < WAIT_COUNT; index++)
    if (lies_in(&world.waits[index], address)) return true;
  return false;
}

static bool holds_locks(uint64_t address) {
  if (address < world.bounds.start || address >= world.bounds.end) return false;
  for (uint32_t index = 0; index < world.count; index++)
    if (address >= world.ranges[index].start && address < world.ranges[index].end) return true;
  return false;
}

/* Where entries are in transit: in a stub, in a padding, between the two bytes at a point */

static void add_entry(uint64_t entry) {
  if (entry - PADDING < world.entry_bounds.start) world.entry_bounds.start = entry - PADDING;
  if (entry + 6 > world.entry_bounds.end) world.entry_bounds.end = entry + 6;
}

static void find_entries(void) {
  world.entry_bounds = (struct pulp_range){PULP_NEVER, 0};
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    for (uint32_t index = 0; index < patch->unit_count; index++) add_entry(pulp_patch_units(patch)[index].patched_addr);
  for (uint32_t index = 0; index < world.unit_count; index++) add_entry(world.units[index].entry);
}

static bool at_entry(uint64_t address, uint64_t entry, uint32_t point_offset) {
  return (address >= entry - PADDING && address < entry) || address == entry + point_offset + 1;
}

static bool in_transit(uint64_t address) {
  if (address >= (uintptr_t)pulp_pool_start && address < (uintptr_t)pulp_pool_end) return true;
  if (address < world.entry_bounds.start || address >= world.entry_bounds.end) return false;
  for (uint32_t index = 0; index < world.unit_count; index++)
    if (at_entry(address, world.units[index].entry, world.units[index].point_offset)) return true;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    for (uint32_t index = 0; index < patch->unit_count; index++)
      if (at_entry(address, pulp_patch_units(patch)[index].patched_addr, pulp_patch_units(patch)[index].point_offset))
        return true;
  return false;
}

/* Threads */

static bool in_call(uint64_t address) {
  return (address >= (uintptr_t)pulp_call_text_start && address < (uintptr_t)pulp_call_text_end) ||
         (address >= __ulp_ext.call_stack_bottom && address < __ulp_ext.call_stack_top);
}

static const char *judge(uint64_t address) {
  if (!world.asks_for_transit && holds_locks(address)) return "is in the allocator, the loader or the like";
  return in_transit(address) ? "stands in a detour or at an entry" : NULL;
}

/* Every word of a stack may be a return address: for stacks that cannot be unwound. */
static const char *scan_stack(uint64_t from, uint64_t depth) {
  for (uint64_t done = 0; done < depth;) {
    uint64_t size = pulp_peek(from + done, world.words, sizeof world.words);
    for (uint64_t index = 0; index < size / 8; index++) {
      const char *reason = judge(world.words[index]);
      if (reason) return reason;
    }
    if (size < sizeof world.words) return done + size || world.asks_for_transit ? NULL : "has no readable stack";
    done += size;
  }
  return NULL;
}

/* What the frames of a thread say, from the innermost on. An allocator may have threads of its own, which spend their time
 * waiting for a condition: with nothing of anybody else between the wait and the thread's beginning, they hold no lock that
 * an allocation would wait for. */
struct verdict {
  const char *reason, *of_servant;
  bool waits;
};

static void judge_frame(struct verdict *verdict, uint64_t pc) {
  const char *reason = judge(pc);
  if (waits_at(pc)) verdict->waits = true;
  if (reason && verdict->waits && lies_in(&world.allocator, pc) && !in_transit(pc)) verdict->of_servant = reason, reason = NULL;
  else if (!reason && verdict->of_servant && !lies_in(&world.libc, pc)) reason = verdict->of_servant;
  if (!verdict->reason) verdict->reason = reason;
}

/* Whether the stack could be unwound to the thread's beginning; then `ret` is what its frames say. `is_guess`, of the thread
 * that runs here: a stack pointer that is wrong finds a 0 soon; and it is nobody's servant. */
static bool unwind(const struct pulp_unwind_state *from, uint64_t pc, bool is_guess, const char **ret) {
  enum { FRAME_MAX = 1024 };
  enum pulp_unwind_step step;
  struct pulp_unwind_state state;
  struct verdict verdict = {.reason = NULL};
  pulp_copy(&state, from, sizeof state);
  judge_frame(&verdict, pc);
  for (uint32_t index = 0; index < FRAME_MAX && (step = pulp_unwind_step(&state, pc)) != PULP_UNWIND_UNKNOWN; index++) {
    *ret = verdict.reason || !is_guess ? verdict.reason : verdict.of_servant;
    if (step != PULP_UNWIND_STEPPED) return step == PULP_UNWIND_ROOT || !is_guess;
    pc = pulp_unwind_place(&state);
    judge_frame(&verdict, pc);
  }
  *ret = verdict.reason ? verdict.reason : verdict.of_servant;
  return false;
}

/* The last two words of the line are the stack pointer and the place; "running" has none. */
static bool parse_place(const char *line, long size, uint64_t *sp, uint64_t *pc) {
  uint64_t words[2] = {0, 0};
  uint32_t count = 0;
  for (long at = 0; at + 2 < size; at++) {
    if (line[at] != ' ' || line[at + 1] != '0' || line[at + 2] != 'x') continue;
    uint64_t value = 0;
    for (at += 3; at < size; at++) {
      char digit = line[at];
      if (digit >= '0' && digit <= '9') value = value * 16 + (uint64_t)(digit - '0');
      else if (digit >= 'a' && digit <= 'f') value = value * 16 + (uint64_t)(digit - 'a' + 10);
      else break;
    }
    words[0] = words[1], words[1] = value, count++, at--;
  }
  *sp = words[0], *pc = words[1];
  return count >= 2;
}

static const char *judge_thread(uint64_t tid, uint64_t depth) {
  char path[64], line[256];
  struct pulp_text name = {.data = path, .capacity = sizeof path - 1};
  uint64_t sp, pc;
  pulp_text_string(&name, "/proc/self/task/");
  pulp_text_number(&name, tid, 10);
  pulp_text_string(&name, "/syscall");
  path[name.size] = 0;
  long file = pulp_open(path, O_RDONLY);
  if (file == -ENOENT || file == -ESRCH) return NULL; /* it has ended */
  if (pulp_failed(file)) return "cannot be looked at: /proc/self/task/TID/syscall is not readable";
  long size = pulp_syscall(SYS_read, file, (long)line, sizeof line, 0, 0, 0);
  pulp_close(file);
  if (size == -ESRCH || size == 0) return NULL;
  if (pulp_failed(size) || !parse_place(line, size, &sp, &pc)) return "runs";
  if (in_call(pc) || in_call(sp)) return "is in a call of ulpsh";
  struct pulp_unwind_state state;
  const char *reason;
  pulp_zero(&state, sizeof state);
  state.known = 1u << 7;
  state.registers[7] = sp;
  return unwind(&state, pc, false, &reason) || reason ? reason : scan_stack(sp, depth);
}

struct entry { /* linux_dirent64 */
  uint64_t inode, offset;
  uint16_t size;
  uint8_t type;
  char name[];
} __attribute__((packed));

static uint64_t number(const char *text) {
  uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
  return *text ? 0 : value;
}

static const char *judge_threads(uint64_t self, uint64_t depth, uint64_t *culprit, uint64_t *count) {
  const char *reason = NULL;
  long directory = pulp_open("/proc/self/task", O_RDONLY | O_DIRECTORY), size = 0;
  *count = 0;
  if (pulp_failed(directory)) return "of this process cannot be listed: /proc/self/task is not readable";
  while (!reason && (size = pulp_syscall(SYS_getdents64, directory, (long)world.listing, sizeof world.listing, 0, 0, 0)) > 0)
    for (long at = 0; at < size && !reason; at += ((struct entry *)(world.listing + at))->size) {
      uint64_t tid = number(((struct entry *)(world.listing + at))->name);
      if (!tid) continue;
      ++*count;
      if (!depth || tid == self) continue;
      *culprit = tid;
      reason = judge_thread(tid, depth);
    }
  if (!reason && size < 0) reason = "of this process cannot be listed";
  pulp_close(directory);
  return reason;
}

/* What the diverted thread still has in its registers. */
static void begin_self(const struct pulp_suse_call *call, struct pulp_unwind_state *ret) {
  static const uint8_t numbers[6] = {15, 14, 13, 12, 6, 3}; /* downwards from call->rsp */
  pulp_zero(ret, sizeof *ret);
  ret->known = 1u << 7;
  for (uint32_t index = 0; index < sizeof numbers; index++) {
    ret->registers[numbers[index]] = *(const uint64_t *)(uintptr_t)(call->rsp - 8 * (index + 1));
    ret->known |= 1u << numbers[index];
  }
}

/* The stack pointer of the diverted thread was one of eight values above the red zone that the tool left. A wrong one does
 * not lead to the thread's beginning, save by chance: what any of those says that do lead there counts. */
static bool unwind_self(const struct pulp_suse_call *call, uint64_t stack, const char **ret) {
  struct pulp_unwind_state state;
  bool is_complete = false;
  begin_self(call, &state);
  *ret = NULL;
  for (uint64_t slack = 0; slack < 64; slack += 8) {
    const char *reason;
    state.registers[7] = stack + RED_ZONE + slack;
    if (!unwind(&state, call->rcx, true, &reason)) continue;
    is_complete = true;
    if (reason) *ret = reason;
  }
  return is_complete;
}

/* It was not in a system call: of each place that the tool may give it back to. */
static const char *judge_saved(const struct pulp_suse_call *call, uint64_t stack, uint64_t depth) {
  struct pulp_saved saved;
  const char *reason = NULL;
  pulp_saved_find(call, stack + RED_ZONE, &saved);
  if (!saved.count) return "computes, and the tool's memory cannot be asked where";
  for (uint32_t index = 0; index < saved.count && !reason; index++) {
    const struct pulp_saved_place *place = &saved.places[index];
    struct pulp_unwind_state state;
    if (in_call(place->pc) || in_call(place->sp)) return "is in a call of ulpsh";
    begin_self(call, &state);
    state.registers[7] = place->sp;
    if (!unwind(&state, place->pc, false, &reason) && !reason) reason = scan_stack(place->sp, depth);
  }
  return reason;
}

static const char *judge_self(const struct pulp_suse_call *call, uint64_t depth) {
  uint8_t code[2] = {0, 0};
  uint64_t stack = (call->rsp + 8 + 63) & ~63ull;
  bool restarted = (call->rsp + 8) & 63, interrupted = call->rax == (uint64_t)-EINTR;
  bool after_syscall = pulp_peek(call->rcx - 2, code, 2) == 2 && code[0] == 0x0f && code[1] == 0x05;
  if (!after_syscall || !(restarted || interrupted)) return judge_saved(call, stack, depth);
  if (in_call(call->rcx) || in_call(stack)) return "is in a call of ulpsh";
  const char *reason;
  return unwind_self(call, stack, &reason) ? reason : scan_stack(stack + RED_ZONE, depth);
}

static uint64_t refuse(const char *reason, uint64_t tid) {
  static const char *last_reason; /* a tool that tries again a thousand times must not fill the message queue */
  if (reason == last_reason) return PULP_EAGAIN;
  char line[256];
  struct pulp_text text = {.data = line, .capacity = sizeof line - 1};
  last_reason = reason;
  pulp_text_string(&text, "ulp: not now: thread ");
  if (tid) pulp_text_number(&text, tid, 10), pulp_text_string(&text, " ");
  pulp_text_string(&text, reason);
  pulp_text_string(&text, "; nothing was changed\n");
  line[text.size] = 0;
  pulp_message(line);
  return PULP_EAGAIN;
}

/* 0, or EAGAIN. `units` are functions about to be armed, not known to the journal yet. */
uint64_t pulp_world_check(const struct pulp_suse_call *call, const struct pulp_suse_unit *units, uint32_t unit_count) {
  uint64_t self = (uint64_t)pulp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), culprit = 0, count = 0;
  world.units = units, world.unit_count = unit_count, world.asks_for_transit = false;
  const char *reason = find_lock_holders() ? NULL : "changes the loader's list of libraries";
  if (reason) return refuse(reason, 0);
  find_entries();
  pulp_unwind_prepare();
  reason = judge_threads(self, 0, &culprit, &count);
  /* Frames of a constructor may lie between a thread's top and the loader that it holds. */
  uint64_t depth = count <= 8 ? 1048576 : count <= 64 ? 262144 : 65536;
  if (!reason) culprit = self, reason = judge_self(call, depth);
  if (!reason) reason = judge_threads(self, depth, &culprit, &count);
  return reason ? refuse(reason, culprit) : PULP_OK;
}

/* For a caller inside a program that runs (gdb.c) */

/* May the calling thread use the loader? `frame` is where its caller's rbp and its return address lie. Under the loader's
 * lock. A debugger's call has a return address that no table knows: then the debugger has chosen the place. */
uint64_t pulp_world_check_caller(const uint64_t *frame) {
  struct pulp_unwind_state state;
  const char *reason;
  world.units = NULL, world.unit_count = 0, world.asks_for_transit = false;
  if (!find_lock_holders()) return refuse("changes the loader's list of libraries", 0);
  find_entries();
  pulp_unwind_prepare();
  pulp_zero(&state, sizeof state);
  state.registers[6] = frame[0], state.registers[7] = (uintptr_t)(frame + 2);
  state.known = 1u << 6 | 1u << 7;
  unwind(&state, frame[1] - 1, false, &reason);
  return reason ? refuse(reason, (uint64_t)pulp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0)) : PULP_OK;
}

/* Processor time of a thread; its clock's number is made of its own (CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK). */
static uint64_t time_used(uint64_t tid) {
  struct timespec used = {0};
  pulp_syscall(SYS_clock_gettime, (long)(~(uint32_t)tid << 3 | 6), (long)&used, 0, 0, 0, 0);
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* A thread that sleeps or is stopped shows its places; of one that runs it is enough that it went on. */
static bool passes(uint64_t tid) {
  enum { TRIES = 2000, STEP_NS = 1000000 };
  struct timespec step = {.tv_nsec = STEP_NS};
  uint64_t before = time_used(tid);
  for (uint32_t index = 0; index < TRIES; index++) {
    const char *reason = judge_thread(tid, 65536);
    if (!reason || time_used(tid) > before + STEP_NS / 100) return true;
    pulp_syscall(SYS_nanosleep, (long)&step, 0, 0, 0, 0, 0);
  }
  return false;
}

/* Waits until no thread can stand any more where it stood in one of the functions' entries, in a detour's padding or in the
 * pool, when this was called; a new one does not come there, or does no harm. */
uint64_t pulp_world_pass(const struct pulp_suse_unit *units, uint32_t unit_count) {
  uint64_t self = (uint64_t)pulp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
  bool all = true;
  world.units = units, world.unit_count = unit_count, world.asks_for_transit = true;
  find_entries();
  long directory = pulp_open("/proc/self/task", O_RDONLY | O_DIRECTORY), size = 0;
  if (pulp_failed(directory)) return refuse("of this process cannot be listed: /proc/self/task is not readable", 0);
  while (all && (size = pulp_syscall(SYS_getdents64, directory, (long)world.listing, sizeof world.listing, 0, 0, 0)) > 0)
    for (long at = 0; at < size && all; at += ((struct entry *)(world.listing + at))->size) {
      uint64_t tid = number(((struct entry *)(world.listing + at))->name);
      if (tid && tid != self) all = passes(tid);
    }
  pulp_close(directory);
  world.asks_for_transit = false;
  return all && size >= 0 ? PULP_OK : refuse("of this process stands in a detour or at an entry", 0);
}
