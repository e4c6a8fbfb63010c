/* nested.c: a victim whose main thread waits in a signal handler that interrupted an allocator. Two parts of one file: with
 * -DALLOCATOR the library that has malloc. Around the waiting system call the stack holds nothing but zeros: whoever guesses
 * the stack pointer wrong must not take one of them for the end of the stack.
 */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>

#ifdef ALLOCATOR
enum { INTERRUPTED = 12345 };
static char heap[1 << 20];
static size_t used;

void *malloc(size_t size) {
  if (size == INTERRUPTED) { /* kill(getpid(), SIGUSR1), without leaving this library */
    long pid, result;
    __asm__ volatile("syscall" : "=a"(pid) : "0"(SYS_getpid) : "rcx", "r11", "memory");
    __asm__ volatile("syscall" : "=a"(result) : "0"(SYS_kill), "D"(pid), "S"(SIGUSR1) : "rcx", "r11", "memory");
  }
  used = (used + size + 15) & ~15ul;
  return used <= sizeof heap ? heap + used - ((size + 15) & ~15ul) : NULL;
}
void free(void *block) { (void)block; }
void *calloc(size_t count, size_t size) { return malloc(count * size); }
void *realloc(void *block, size_t size) { return block ? NULL : malloc(size); }
#else
void wait_in_handler(int number);
__asm__(".text\n.globl wait_in_handler\n.type wait_in_handler, @function\nwait_in_handler:\n"
        ".cfi_startproc\n"
        "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\n"
        "mov %rsp, %rbp\n.cfi_def_cfa_register %rbp\n"
        "and $-64, %rsp\n"
        ".rept 15\npush $0\n.endr\n" /* 8 above a multiple of 64: the call makes it one */
        "call wait\n"
        "leave\n.cfi_def_cfa %rsp, 8\nret\n.cfi_endproc\n"
        "wait:\n.cfi_startproc\nmov $34, %eax\nsyscall\nret\n.cfi_endproc\n"); /* pause(2) */

int main(void) {
  signal(SIGUSR1, wait_in_handler);
  return malloc(12345) == NULL;
}
#endif
