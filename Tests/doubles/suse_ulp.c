/* suse_ulp.c: a stand-in for SUSE's `ulp`, written from the description of its interface: it finds a runtime by walking
 * the process's memory, stops every thread with PTRACE_ATTACH, diverts the main thread, takes any stop for the end, and
 * carries out the instruction queue. It has that tool's faults on purpose: no vector register is saved, signals met on
 * the way are swallowed, the queue is carried out whatever the answer was.
 *
 *   suse_ulp [options] trigger PID CONTAINER       --revert: type 2; --revert-all LIB: before, in the same stop
 *   suse_ulp [options] revert-all PID LIBRARY
 *   suse_ulp [options] check PID CONTAINER | messages PID | list PID | symbols PID | enable PID | disable PID
 *
 *   -r N          attempts, 1 ms apart        -R PREFIX      glued in front of the container's path
 *   --timeout MS  for one run of an entry     --unchecked    send without looking at target and container
 *   --raw         CONTAINER is metadata in the wire form     --show  print every instruction of the queue
 *   --die-at N    be killed before instruction N of the queue, counted from 0
 *   --between HEX   put threads that run within 8 bytes of an entry between its two nops
 *   --abandon-at N  leave the queue there, unacknowledged, but let go of the process as at the end
 *   --count N     apply and revert in turn, N runs; report sums
 *
 * One fact a line, `name=value`; the exit status is the error number modulo 256.
 */
#define _GNU_SOURCE
#include "suse_ulp.h"
#include <signal.h>

struct options options = {.attempts = 1, .timeout_ms = 200000, .count = 1, .die_at = -1, .abandon_at = -1};

static const struct {
  unsigned number;
  const char *name;
} names[] = {{0, "ENONE"}, {3, "ESRCH"}, {11, "EAGAIN"}, {62, "ETIME"}, {75, "EOVERFLOW"}, {256, "EUNKNOWN"},
  {257, "EBUILDID"}, {258, "ETARGETHOOK"}, {260, "ENOLINKMAP"}, {261, "ENOPHDR"}, {263, "ENOLIBPULP"},
  {264, "ETHRDATTACH"}, {266, "EINVALIDULP"}, {267, "ENOOLDFUNC"}, {268, "ENONEWFUNC"}, {269, "ENOMETA"},
  {270, "ESTATE"}, {272, "ENOTAPPLIED"}, {273, "EDEPEND"}, {275, "EAPPLIED"}, {276, "ENOTARGETLIB"},
  {277, "EHOOKNOTRUN"}, {278, "ENOPATCHABLE"}, {280, "EUSRBLOCKED"}, {281, "EOLDLIBPULP"}, {282, "EINITFAIL"},
  {284, "ENOPATCH"}, {285, "EINSNQ"}, {286, "EOLDULP"}, {287, "EDLOPEN"}};

const char *error_name(unsigned number) {
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].number == number) return names[i].name;
  return "?";
}

/* One critical section: everything between stopping and letting go. */
static unsigned critical_section(struct target *target, const struct metadata *metadata) {
  unsigned error = stop_all(target), reverted = 0;
  if (error) return error;
  if (options.revert_all) {
    error = reverted = run_revert_all(target, options.revert_all);
    printf("revert_all=%u %s\n", reverted, error_name(reverted));
  }
  if (metadata && !error) {
    error = run_trigger(target, metadata);
    printf("trigger=%u %s\n", error, error_name(error));
  }
  release_all(target);
  return error;
}

static unsigned attempt(struct target *target, const struct metadata *metadata) {
  unsigned error = 0;
  for (int i = 0; i < options.attempts; i++) {
    if (i) usleep(1000);
    error = critical_section(target, metadata);
    if (!error || error == ETIME) break; /* after ETIME the thread still runs: nothing works any more */
  }
  return error;
}

/* Sums over many operations: an apply is followed by its revert, so that each can succeed again. */
static unsigned attempt_many(struct target *target, const char *container) {
  unsigned ok = 0, again = 0, hang = 0, unrun = 0, other = 0, error = 0;
  struct metadata metadata[2];
  for (int i = 0; i < 2; i++)
    if ((error = read_metadata(container, i, &metadata[i]))) return error;
  if (!freopen("/dev/null", "w", stdout)) return EINVAL;
  bool applied = false;
  for (int i = 0; i < options.count && !hang; i++) {
    error = attempt(target, &metadata[applied]);
    if (error == ETIME) hang++;
    else if (error == EHOOKNOTRUN || !is_finished) /* a signal was first, or last: the list tells what happened */
      unrun++, applied = read_word(target, target->state + 8, 8) != 0;
    else if (!error) ok++, applied = !applied;
    else if (error == EAGAIN) again++;
    else other = error;
    usleep(200 + (unsigned)(rand() % 800));
  }
  if (applied && !hang)
    for (int i = 0; i < 3000 && applied; i++, usleep(500)) applied = attempt(target, &metadata[1]) != 0;
  fprintf(stderr, "tries=%u ok=%u again=%u unrun=%u hang=%u other=%u\n", ok + again + unrun + hang + (other != 0), ok, again,
          unrun, hang, other);
  return hang ? ETIME : other;
}

static unsigned check(struct target *target, const char *container) {
  struct metadata metadata;
  unsigned error = read_metadata(container, false, &metadata);
  if (error || (error = stop_all(target))) return error;
  uint64_t rax = 0;
  remote_write(target, target->metadata_buffer, metadata.bytes + 1, 32);
  error = run(target, target->check_patched, &rax);
  release_all(target);
  if (error) return error;
  printf("applied=%llu\n", (unsigned long long)rax);
  return (unsigned)rax;
}

static unsigned set_patchable(struct target *target, bool enable) {
  uint32_t state = read_word(target, target->error_state, 4);
  uint64_t rax = state;
  unsigned error = 0;
  if (state == (enable ? 280 : 0)) {
    if ((error = stop_all(target))) return error;
    error = run(target, target->toggle, &rax);
    release_all(target);
  }
  printf("state=%u %s\n", (unsigned)rax, error_name((unsigned)rax));
  return error;
}

static unsigned command(struct target *target, const char *word, char **arguments) {
  struct metadata metadata;
  unsigned error;
  if (!strcmp(word, "messages")) return print_messages(target);
  if (!strcmp(word, "list")) return print_patches(target);
  if (!strcmp(word, "symbols")) return print_symbols(target);
  if (!strcmp(word, "enable")) return set_patchable(target, true);
  if (!strcmp(word, "disable")) return set_patchable(target, false);
  if (!arguments[0]) return EINVAL;
  if (!strcmp(word, "check")) return check(target, arguments[0]);
  if (!strcmp(word, "revert-all")) {
    options.revert_all = arguments[0];
    return attempt(target, NULL);
  }
  if (strcmp(word, "trigger")) return EINVAL;
  if (options.count > 1) return attempt_many(target, arguments[0]);
  if ((error = read_metadata(arguments[0], options.revert, &metadata))) return error;
  if (!options.unchecked && (error = check_before(target, arguments[0], &metadata))) return error;
  return attempt(target, &metadata);
}

int main(int count, char **arguments) {
  int i = 1;
  for (; i < count && arguments[i][0] == '-'; i++) {
    const char *name = arguments[i];
    bool has_value = i + 1 < count;
    if (!strcmp(name, "--revert")) options.revert = true;
    else if (!strcmp(name, "--raw")) options.raw = options.unchecked = true;
    else if (!strcmp(name, "--unchecked")) options.unchecked = true;
    else if (!strcmp(name, "--show")) options.show = true;
    else if (has_value && !strcmp(name, "-r")) options.attempts = atoi(arguments[++i]);
    else if (has_value && !strcmp(name, "-R")) options.prefix = arguments[++i];
    else if (has_value && !strcmp(name, "--revert-all")) options.revert_all = arguments[++i];
    else if (has_value && !strcmp(name, "--timeout")) options.timeout_ms = atoi(arguments[++i]);
    else if (has_value && !strcmp(name, "--die-at")) options.die_at = atoi(arguments[++i]);
    else if (has_value && !strcmp(name, "--between")) options.between = strtoull(arguments[++i], NULL, 16);
    else if (has_value && !strcmp(name, "--abandon-at")) options.abandon_at = atoi(arguments[++i]);
    else if (has_value && !strcmp(name, "--count")) options.count = atoi(arguments[++i]);
    else return 64;
  }
  if (count < i + 2) return 64;
  struct target target = {.pid = atoi(arguments[i + 1])};
  setvbuf(stdout, NULL, _IOLBF, 0);
  unsigned error = discover(&target);
  /* Threads that load and unload go on meanwhile: that tool warns and gives up; of many runs none is worth anything then. */
  for (int tries = 0; options.count > 1 && tries < 200 && (error == ENOPHDR || error == ENOLINKMAP); tries++) {
    target = (struct target){.pid = target.pid};
    error = discover(&target);
  }
  if (!error) error = command(&target, arguments[i], arguments + i + 2);
  printf("result=%u %s\n", error, error_name(error));
  return (int)(error & 0xff);
}
