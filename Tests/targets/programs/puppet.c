/* A thread that a test places where it likes, and threads that call the function without pause.
 *
 * usage: puppet LIBRARY [CALLERS]
 * The puppet sleeps in pause(2). A test sets its registers as at the call of a function, with `landing_return` as return
 * address; what the function returned then is in `landed_value`, and the puppet sleeps again. SIGUSR1's handler stays until
 * `handler_go` says how many of its calls may return. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int landed_count, landed_value;
_Atomic int handler_entered, handler_go, handler_left, puppet_tid, vfork_go;
static _Atomic long called[4], strange;
static int (*number)(void);

/* The undefined return address makes it the root of the puppet's stack for every unwinder. */
void puppet_wait(void);
__asm__(
  ".text\n\t.globl puppet_wait, landing_return\n\t.type puppet_wait, @function\n"
  "puppet_wait:\n\t.cfi_startproc\n\t.cfi_undefined %rip\n"
  "1:\tmov $34, %eax\n\tsyscall\n\tjmp 1b\n"
  "\tnop\n"
  "landing_return:\n\tmov %eax, landed_value(%rip)\n\tlock incl landed_count(%rip)\n\tjmp 1b\n"
  "\t.cfi_endproc\n\t.size puppet_wait, . - puppet_wait\n");

/* `fill` gives every vector and mask register a pattern of its own and spins; `clobber` destroys all that a function may.
 * `has_avx512` says whether the processor has its registers. */
_Alignas(64) unsigned char pattern[32 * 64];
int has_avx512;
__asm__(
  "\t.globl fill, fill_spins, clobber\n"
  "fill:\n\tlea pattern(%rip), %rdx\n"
  "\t.irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tvmovdqu 64*\\i(%rdx), %ymm\\i\n\t.endr\n"
  "\tcmpl $0, has_avx512(%rip)\n\tje 1f\n"
  "\t.irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
  "\tvmovdqu64 64*\\i(%rdx), %zmm\\i\n\t.endr\n"
  "\t.irp i,1,2,3,4,5,6,7\n\tkmovw 64*\\i(%rdx), %k\\i\n\t.endr\n"
  "1:\tfldpi\n\tldmxcsr odd_mxcsr(%rip)\n"
  "fill_spins:\tpause\n\tjmp fill_spins\n"
  "clobber:\n\tvzeroall\n\tcmpl $0, has_avx512(%rip)\n\tje 1f\n"
  "\t.irp i,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\tvpxorq %zmm\\i, %zmm\\i, %zmm\\i\n\t.endr\n"
  "\t.irp i,1,2,3,4,5,6,7\n\tkxorw %k\\i, %k\\i, %k\\i\n\t.endr\n"
  "1:\tfninit\n\tfldz\n\tldmxcsr other_mxcsr(%rip)\n"
  "\txor %ecx, %ecx\n\txor %esi, %esi\n\txor %r8d, %r8d\n\txor %r9d, %r9d\n\txor %r10d, %r10d\n\txor %r11d, %r11d\n"
  "\tmov %rdi, %rax\n\tneg %rax\n\tmov $7, %edx\n\tmov $9, %edi\n\tret\n"
  "\t.section .rodata\nodd_mxcsr:\t.long 0x7f80\nother_mxcsr:\t.long 0x3f80\n\t.text\n");

static void on_signal(int unused) {
  (void)unused;
  int self = ++handler_entered;
  while (handler_go < self) usleep(500);
  handler_left++;
}

static void *dance(void *unused) {
  puppet_tid = gettid();
  puppet_wait();
  return unused;
}

static void *call(void *unused) {
  for (;;) {
    int value = number();
    if (value < 1 || value > 3) strange++;
    else called[value]++;
  }
  return unused;
}

int main(int argc, char **argv) {
  char word[64];
  pthread_t thread;
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (!library || !(number = (int (*)(void))dlsym(library, "number"))) return 2;
  for (unsigned i = 0; i < sizeof pattern; i++) pattern[i] = (unsigned char)(i * 37 + i / 64);
  has_avx512 = __builtin_cpu_supports("avx512f");
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  if (pthread_create(&thread, NULL, dance, NULL)) return 2;
  for (int i = 0; argc > 2 && i < atoi(argv[2]); i++)
    if (pthread_create(&thread, NULL, call, NULL)) return 2;
  while (!puppet_tid) usleep(100);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "vfork") == 0 && vfork() == 0) { /* the parent stands in D until the child ends */
      while (!vfork_go) usleep(500);
      vfork_go = 0;
      _exit(0);
    }
    if (strcmp(word, "call") == 0) printf("%d\n", number());
    if (strcmp(word, "report") == 0)
      printf("%ld %ld %ld %ld\n", atomic_exchange(&called[1], 0), atomic_exchange(&called[2], 0),
        atomic_exchange(&called[3], 0), strange);
  }
  puts("bye");
  return 0;
}
