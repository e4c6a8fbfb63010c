/* A program that confines itself, once its libraries are loaded.
 *
 * usage: confined ROOT|- [errno|kill]
 * ROOT becomes its root directory; a seccomp filter then refuses memory that is writable and executable, or ends the program
 * for it. "dozen" answers with the library's number, "map" with what becomes of such memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int dozen(void);

enum { refused = PROT_WRITE | PROT_EXEC };

static int filter(unsigned action) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 4),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refused),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, action),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv) {
  char word[64];
  if (argc < 2) return 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (strcmp(argv[1], "-") && (chroot(argv[1]) || chdir("/"))) {
    perror("chroot");
    return 1;
  }
  if (argc > 2 && filter(strcmp(argv[2], "kill") ? SECCOMP_RET_ERRNO | EACCES : SECCOMP_RET_KILL_PROCESS)) {
    perror("seccomp");
    return 1;
  }
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "dozen") == 0) printf("%d\n", dozen());
    if (strcmp(word, "map") == 0) {
      void *memory = mmap(NULL, 4096, PROT_READ | refused, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      puts(memory == MAP_FAILED ? "map=refused" : "map=allowed");
    }
  }
  return 0;
}
