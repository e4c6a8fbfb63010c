/* suse_ulp_run.c: the critical section of SUSE's tool. */
#define _GNU_SOURCE
#include "suse_ulp.h"
#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

bool is_finished;

static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_known(struct target *target, pid_t tid) {
  for (int i = 0; i < target->thread_count; i++)
    if (target->threads[i] == tid) return true;
  return false;
}

/* Any stop is accepted. */
static bool attach(struct target *target, pid_t tid) {
  int status;
  long deadline = milliseconds() + 5000;
  while (ptrace(PTRACE_ATTACH, tid, 0, 0)) {
    if ((errno != EBUSY && errno != EPERM) || milliseconds() > deadline) return false;
    usleep(10000);
  }
  if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status)) return false;
  struct user_regs_struct *registers = &target->registers[target->thread_count];
  target->threads[target->thread_count++] = tid;
  if (ptrace(PTRACE_GETREGS, tid, 0, registers)) return false;
  /* Chance helped: in a function of a few instructions without a frame it may as well stand between its two nops. */
  bool is_in_call = (long)registers->orig_rax >= 0;
  if (!options.between || tid == target->pid || is_in_call || registers->rip - options.between >= 8) return true;
  registers->rip = options.between + 1;
  return !ptrace(PTRACE_SETREGS, tid, 0, registers);
}

unsigned stop_all(struct target *target) {
  char path[64];
  bool found = true;
  target->thread_count = 0;
  snprintf(path, sizeof path, "/proc/%d/task", target->pid);
  while (found) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    found = false;
    if (!directory) return ESRCH;
    while ((entry = readdir(directory))) {
      pid_t tid = atoi(entry->d_name);
      if (!tid || is_known(target, tid)) continue;
      if (target->thread_count == THREAD_MAX || !attach(target, tid)) {
        if (errno == ESRCH) continue;
        closedir(directory);
        release_all(target);
        return ETHRDATTACH;
      }
      found = true;
    }
    closedir(directory);
  }
  return 0;
}

void release_all(struct target *target) {
  for (int i = target->thread_count - 1; i >= 0; i--) {
    ptrace(PTRACE_SETREGS, target->threads[i], 0, &target->registers[i]);
    ptrace(PTRACE_DETACH, target->threads[i], 0, 0);
  }
  target->thread_count = 0;
}

static struct user_regs_struct *main_registers(struct target *target) {
  for (int i = 0; i < target->thread_count; i++)
    if (target->threads[i] == target->pid) return &target->registers[i];
  return NULL;
}

/* The main thread alone runs; whatever stops it is taken for the end. */
unsigned run(struct target *target, uint64_t entry, uint64_t *rax) {
  struct user_regs_struct *saved = main_registers(target), registers;
  long deadline = milliseconds() + options.timeout_ms;
  int status;
  if (!saved) return ESRCH;
  registers = *saved;
  registers.rip = entry + 2;
  registers.rsp = (registers.rsp - 128) & ~63ull;
  if (ptrace(PTRACE_SETREGS, target->pid, 0, &registers) || ptrace(PTRACE_CONT, target->pid, 0, 0)) return ETARGETHOOK;
  for (;;) {
    pid_t got = waitpid(target->pid, &status, WNOHANG | __WALL);
    if (got == target->pid && WIFSTOPPED(status)) break;
    if (got == target->pid || got < 0) return ESRCH;
    if (milliseconds() > deadline) return ETIME;
    usleep(100);
  }
  if (ptrace(PTRACE_GETREGS, target->pid, 0, &registers)) return ETARGETHOOK;
  *rax = registers.rax;
  is_finished = registers.rip == entry + 8 || registers.rip == entry + 7;
  printf("rax=%llu stop=%d at=%s\n", (unsigned long long)*rax, WSTOPSIG(status),
         registers.rip == entry + 8 ? "int3" : registers.rip == entry + 7 ? "before" : "elsewhere");
  return 0;
}

static bool poke(struct target *target, uint64_t address, const uint8_t *bytes, uint32_t size) {
  for (uint32_t i = 0; i < size; i += 8) {
    uint64_t word = 0;
    uint32_t part = size - i < 8 ? size - i : 8;
    if (part < 8) {
      errno = 0;
      word = (uint64_t)ptrace(PTRACE_PEEKDATA, target->pid, address + i, 0);
      if (errno) return false;
    }
    memcpy(&word, bytes + i, part);
    if (ptrace(PTRACE_POKEDATA, target->pid, address + i, word)) return false;
  }
  return true;
}

static void show(uint64_t address, const uint8_t *bytes, uint32_t size) {
  if (!options.show) return;
  printf("write=%llx size=%u data=", (unsigned long long)address, size);
  for (uint32_t i = 0; i < size; i++) printf("%02x", bytes[i]);
  printf("\n");
}

/* One instruction; its size, or 0. */
static uint32_t execute(struct target *target, const uint8_t *at) {
  uint32_t header, size, count;
  uint64_t address;
  memcpy(&header, at, 4);
  size = header >> 8;
  switch (header & 0xff) {
  case 0: return 4;
  case 1: printf("print=%s\n", (const char *)at + 4); return size;
  case 2:
    memcpy(&count, at + 4, 4), memcpy(&address, at + 8, 8);
    if (size != ((16 + count + 7) & ~7u)) return 0;
    show(address, at + 16, count);
    return poke(target, address, at + 16, count) ? size : 0;
  default: return 0;
  }
}

static unsigned interpret_queue(struct target *target) {
  static uint8_t buffer[QUEUE_SIZE + 16];
  uint32_t header[4], at = 0, zero = 0;
  if (!target->insn_queue) return 0;
  if (!remote_read(target, target->insn_queue, header, sizeof header)) return ETARGETHOOK;
  printf("queue version=%u instructions=%u size=%u\n", header[0], header[1], header[2]);
  if (header[0] > 1) return EOLDULP;
  if (header[2] > QUEUE_SIZE || !remote_read(target, target->insn_queue + 16, buffer, header[2])) return EINSNQ;
  for (uint32_t i = 0; i < header[1]; i++) {
    if ((int)i == options.die_at) raise(SIGKILL);
    if ((int)i == options.abandon_at) return EINSNQ;
    uint32_t size = at < header[2] ? execute(target, buffer + at) : 0;
    if (!size) return EINSNQ;
    at += size;
  }
  if (at != header[2]) return EINSNQ;
  if ((int)header[1] == options.die_at) raise(SIGKILL);
  if ((int)header[1] == options.abandon_at) return EINSNQ;
  poke(target, target->insn_queue + 8, (uint8_t *)&zero, 4);
  poke(target, target->insn_queue + 4, (uint8_t *)&zero, 4);
  return 0;
}

unsigned run_trigger(struct target *target, const struct metadata *metadata) {
  uint64_t rax = 0, before = main_registers(target) ? main_registers(target)->rax : 0;
  if (!remote_write(target, target->metadata_buffer, metadata->bytes, metadata->size)) return ETARGETHOOK;
  unsigned error = run(target, target->trigger, &rax), queue;
  if (error) return error;
  if (rax && rax != EAGAIN && rax == before) return EHOOKNOTRUN;
  queue = interpret_queue(target);
  return rax ? (unsigned)rax : queue;
}

unsigned run_revert_all(struct target *target, const char *library) {
  uint64_t rax = 0;
  if (!remote_write(target, target->metadata_buffer, library, strlen(library) + 1)) return ETARGETHOOK;
  unsigned error = run(target, target->revert_all, &rax), queue;
  if (error) return error;
  queue = interpret_queue(target);
  return rax ? (unsigned)rax : queue;
}
