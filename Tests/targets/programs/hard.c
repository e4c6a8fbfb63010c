/* A process under restrictions that a live patch has to live with, or be refused by name.
 *
 * usage: hard MODE...
 * seccomp-strict|seccomp-exec|seccomp-open|seccomp-memfd|seccomp-trap|files|mdwe|dumpable|locked|space|size|procs|fresh|nobody|
 * full|vfork|strict-main|none: each is set up before "ready". allowed: a filter that ends the process for every call but those
 * that it and a patch need; lacks-CALL: without CALL; fresh-allowed: before anything was allocated. nobody: a process of root
 * that became another user's. files, full: it may open none, it has no descriptor left. vfork: a thread waits in vfork(2),
 * where the kernel does not let it be stopped, until "free"; vfork-main: the only thread does, until a line comes.
 * strict-main: the first thread is in seccomp strict mode, another one is not.
 * On stdin: "tell" answers with the number, "trap" with how often a call was trapped, "free" gives a descriptor back and ends
 * the vfork. In strict mode nothing but read and write is left, so the number is told once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int dozen(void);

#define SYSTEM_CALL BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define IF_NOT(number, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (skip))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))

static int filter(struct sock_filter *program, size_t count) {
  struct sock_fprog all = {.len = (unsigned short)count, .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all);
}

/* mmap and mprotect with PROT_EXEC end the process. */
static int forbid_exec(void) {
  struct sock_filter program[] = {
    SYSTEM_CALL,
    IF_NOT(SYS_mmap, 1), BPF_STMT(BPF_JMP | BPF_JA, 1),
    IF_NOT(SYS_mprotect, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    ANSWER(SECCOMP_RET_ALLOW),
  };
  return filter(program, sizeof program / sizeof *program);
}

static int forbid_open(void) {
  struct sock_filter program[] = {
    SYSTEM_CALL, IF_NOT(SYS_open, 1), ANSWER(SECCOMP_RET_ERRNO | EACCES), IF_NOT(SYS_openat, 1),
    ANSWER(SECCOMP_RET_ERRNO | EACCES), ANSWER(SECCOMP_RET_ALLOW),
  };
  return filter(program, sizeof program / sizeof *program);
}

static int forbid_memory_files(void) {
  struct sock_filter program[] = {
    SYSTEM_CALL, IF_NOT(SYS_memfd_create, 1), ANSWER(SECCOMP_RET_KILL_PROCESS), ANSWER(SECCOMP_RET_ALLOW),
  };
  return filter(program, sizeof program / sizeof *program);
}

/* getpriority(2) raises SIGSYS, which the program handles by itself. */
static volatile sig_atomic_t trapped;
static void count_trap(int number) { trapped += number == SIGSYS; }

static int trap_calls(void) {
  struct sock_filter program[] = {
    SYSTEM_CALL, IF_NOT(SYS_getpriority, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
  };
  return signal(SIGSYS, count_trap) == SIG_ERR || filter(program, sizeof program / sizeof *program);
}

/* What a careful program allows itself, and after the first five what loading a patch takes. getrandom(2) is what the first
 * allocation of all calls: "allowed" makes one in time, "fresh-allowed" does not. */
static const struct { const char *name; unsigned number; } allowed[] = {
  {"read", SYS_read}, {"write", SYS_write}, {"exit_group", SYS_exit_group}, {"rt_sigreturn", SYS_rt_sigreturn},
  {"restart_syscall", SYS_restart_syscall},
  {"newfstatat", SYS_newfstatat}, {"openat", SYS_openat}, {"pread64", SYS_pread64}, {"mmap", SYS_mmap}, {"mprotect", SYS_mprotect}, {"munmap", SYS_munmap},
  {"close", SYS_close}, {"brk", SYS_brk}, {"futex", SYS_futex}, {"rt_sigprocmask", SYS_rt_sigprocmask},
};

static int allow_only(const char *lacking) {
  struct sock_filter program[2 * sizeof allowed / sizeof *allowed + 2] = {SYSTEM_CALL};
  size_t count = 1;
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
    if (lacking && strcmp(lacking, allowed[i].name) == 0) continue;
    program[count++] = (struct sock_filter)IF_NOT(allowed[i].number, 1);
    program[count++] = (struct sock_filter)ANSWER(SECCOMP_RET_ALLOW);
  }
  program[count++] = (struct sock_filter)ANSWER(SECCOMP_RET_KILL_PROCESS);
  return filter(program, count);
}

static int become_nobody(void) {
  return setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534);
}

static int limit(int what, rlim_t most) {
  struct rlimit both = {most, most};
  return setrlimit(what, &both);
}

static int spare = -1;              /* the last descriptor that there was */
static volatile pid_t vfork_child; /* it runs in this very memory */

static int fill_descriptors(void) {
  if (limit(RLIMIT_NOFILE, 64)) return 1;
  for (int next; (next = open("/dev/null", O_RDONLY)) >= 0;) spare = next;
  return errno != EMFILE;
}

static void *wait_in_vfork(void *unused) {
  pid_t child = vfork();
  if (child == 0) {
    vfork_child = getpid();
    for (;;) pause();
  }
  waitpid(child, NULL, 0);
  return unused;
}

static int vfork_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_in_vfork, NULL)) return 1;
  while (!vfork_child) usleep(1000);
  return 0;
}

static int vfork_main(void) {
  static const char said[] = "waiting\n";
  char line[64];
  pid_t child = vfork();
  if (child == 0) _exit(write(1, said, sizeof said - 1) < 0 || read(0, line, sizeof line) <= 0);
  return waitpid(child, NULL, 0) != child;
}

static void give_free(void) {
  if (spare >= 0) close(spare);
  if (vfork_child) kill(vfork_child, SIGKILL);
}

static int set_up(const char *mode) {
  if (strcmp(mode, "none") == 0) return 0;
  if (strcmp(mode, "full") == 0) return fill_descriptors();
  if (strcmp(mode, "vfork") == 0) return vfork_thread();
  if (strcmp(mode, "vfork-main") == 0) return vfork_main();
  if (strcmp(mode, "fresh") == 0) return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (strcmp(mode, "seccomp-exec") == 0) return forbid_exec();
  if (strcmp(mode, "seccomp-open") == 0) return forbid_open();
  if (strcmp(mode, "seccomp-memfd") == 0) return forbid_memory_files();
  if (strcmp(mode, "seccomp-trap") == 0) return trap_calls();
  if (strcmp(mode, "files") == 0) return limit(RLIMIT_NOFILE, 3);
  if (strcmp(mode, "fresh-allowed") == 0) return allow_only(NULL);
  free(strdup(mode)); /* a malloc that the compiler sees through is left out */
  if (strcmp(mode, "allowed") == 0) return allow_only(NULL);
  if (strncmp(mode, "lacks-", 6) == 0) return allow_only(mode + 6);
  if (strcmp(mode, "nobody") == 0) return become_nobody();
  if (strcmp(mode, "mdwe") == 0) return prctl(65 /* PR_SET_MDWE */, 1 /* PR_MDWE_REFUSE_EXEC_GAIN */, 0, 0, 0);
  if (strcmp(mode, "dumpable") == 0) return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (strcmp(mode, "locked") == 0) return mlockall(MCL_CURRENT | MCL_FUTURE);
  if (strcmp(mode, "space") == 0) return limit(RLIMIT_AS, 256ul << 20);
  if (strcmp(mode, "size") == 0) return limit(RLIMIT_FSIZE, 0);
  if (strcmp(mode, "procs") == 0) return limit(RLIMIT_NPROC, 0);
  return 1;
}

static void *serve(void *unused) {
  char word[64];
  puts("ready");
  while (read(0, word, sizeof word) > 0) {
    if (strncmp(word, "free", 4) == 0) give_free();
    if (strncmp(word, "trap", 4) == 0) {
      syscall(SYS_getpriority, PRIO_PROCESS, 0);
      printf("trapped=%d.\n", (int)trapped);
    } else {
      printf("dozen=%d.\n", dozen());
    }
  }
  puts("bye");
  exit(0);
  return unused;
}

/* The first thread reads what never comes; another one serves. */
static int serve_beside_strict(void) {
  int silent[2];
  char byte;
  pthread_t thread;
  if (pipe(silent) || pthread_create(&thread, NULL, serve, NULL) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) return 1;
  return read(silent[0], &byte, 1) >= 0;
}

int main(int argc, char **argv) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  printf("dozen=%d.\n", dozen());
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "seccomp-strict") == 0) {
      static const char said[] = "ready\n";
      if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) || write(1, said, sizeof said - 1) < 0) return 2;
      while (read(0, word, sizeof word) > 0) {}
      syscall(SYS_exit, 0);
    }
    if (strcmp(argv[i], "strict-main") == 0) return serve_beside_strict();
    if (set_up(argv[i])) return 2;
  }
  serve(NULL);
  return 0;
}
