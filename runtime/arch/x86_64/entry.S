/* entry.S: SUSE's entry points. Its tool sets rip to entry + 2 and the stack pointer to a multiple of 64 below the red
 * zone, and waits for the int3; RAX is the result. It saves no vector register and no signal mask, and says nothing of
 * where the thread was.
 *
 * The first two bytes are for the kernel: of a thread that was in a system call it takes 2 from rip, so that the call is
 * made again. With a push there, a stack pointer that is no multiple of 64 any more proves that the thread was in a system
 * call, and rcx is where that returns to. SUSE's own library has two nops.
 */
#ifdef __x86_64__
#if __has_include(<cet.h>)
#include <cet.h>
#endif

#define EAGAIN             11
#define SYS_rt_sigprocmask 14
#define SIG_SETMASK        2
#define CALL_SIZE          48           /* struct pulp_suse_call */
#define REGISTERS          15           /* PULP_SUSE_REGISTERS */
#define XSAVE_HEADER       512          /* 64 bytes that XSAVE expects to be 0 */

        .section .pulp_pool, "ax", @progbits    # named first: see PULP_RARE_CODE
        .section .pulp_rare, "ax", @progbits
        .balign 16

        .macro ENTRY name
        .globl  \name           # no .type, no .size: NOTYPE and 0, as in SUSE's library
\name:
        .byte   0x51, 0x90      # push %rcx; nop
        call    \name\()_body
        int3                    # tells the tool that we are done
        .endm

# Whatever the answer is, SUSE's tool then carries out what is in the queue: nothing of an earlier call, which was not
# acknowledged, may be there.
        .macro BODY name, body
        .type   \name\()_body, @function
\name\()_body:
        pushq   %r15
        movq    __ulp_insn_queue@GOTPCREL(%rip), %r15
        movq    $0, 4(%r15)                     # num_insns and size
        leaq    \body(%rip), %r15
        jmp     enter
        .size   \name\()_body, . - \name\()_body
        .endm

# An entry that answers from memory makes no system call: SUSE's tool may ask a thread that seccomp(2) has left nothing but
# read and write. Only after a call that was ended in its middle there is a signal mask to give back.
        .macro ANSWER name, body
        .type   \name\()_body, @function
\name\()_body:
        leaq    \body(%rip), %rdx
        cmpb    $0, pulp_suse_unfinished(%rip)
        je      answer
        pushq   %r15
        movq    %rdx, %r15
        jmp     enter
        .size   \name\()_body, . - \name\()_body
        .endm

        ENTRY   __ulp_trigger
        ENTRY   __ulp_revert_all
        ENTRY   __ulp_check_patched
        ENTRY   __ulp_get_global_universe
        ENTRY   __ulp_enable_or_disable_patching

        BODY    __ulp_trigger, pulp_suse_trigger
        BODY    __ulp_revert_all, pulp_suse_revert_all
        ANSWER  __ulp_check_patched, pulp_suse_check_patched
        ANSWER  __ulp_get_global_universe, pulp_suse_get_global_universe
        ANSWER  __ulp_enable_or_disable_patching, pulp_suse_enable_or_disable_patching

        .type   answer, @function
answer:
        .cfi_startproc
        .cfi_undefined %rip
        movl    $EAGAIN, %eax                   # should a signal end the call at once
        movq    %rsp, %rbx                      # the tool gives back what is clobbered
        xorl    %ebp, %ebp
        xorl    %edi, %edi
        cld
        andq    $-16, %rsp
        call    *%rdx
        movq    %rbx, %rsp
        ret
        .cfi_endproc
        .size   answer, . - answer

        .type   enter, @function
enter:
        .cfi_startproc
        .cfi_undefined %rip
        pushq   %r14                            # what the diverted thread is known by and unwinding it begins with, in
        pushq   %r13                            # user_regs_struct's order: the tool leaves all but rip and rsp as they were
        pushq   %r12
        pushq   %rbp
        pushq   %rbx
        pushq   %r11
        pushq   %r10
        pushq   %r9
        pushq   %r8
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        movq    %rax, %r12
        movq    %rcx, %r13
        leaq    8 * REGISTERS(%rsp), %r14
        movl    $EAGAIN, %eax                   # should a signal end the call at once
        xorl    %ebp, %ebp
        rdsspq  %rbp                            # with a shadow stack a call that is ended in its middle would be
        testq   %rbp, %rbp                      # death, as the tool gives back rsp alone: nothing is done at all
        jz      1f
        movq    %r14, %rsp
        ret
1:      rdtsc                                   # In strict mode any system call from here on is death. That mode takes
        movl    $EAGAIN, %eax                   # the clock away as well (kernel/seccomp.c, disable_TSC): the fault ends the
        cld                                     # call here, with EAGAIN, and SUSE's tool passes no signal on.
        subq    $64, %rsp
        andq    $-64, %rsp
        movl    $SYS_rt_sigprocmask, %eax
        movl    $SIG_SETMASK, %edi
        leaq    blocked_signals(%rip), %rsi
        movq    %rsp, %rdx
        movl    $8, %r10d                       # sizeof(kernel sigset_t)
        syscall
        movq    (%rsp), %rbp                    # the mask as it was
        movl    $0xd, %eax                      # Intel SDM 13.2: EBX = size of the enabled components' area
        xorl    %ecx, %ecx
        cpuid
        subq    %rbx, %rsp
        andq    $-64, %rsp
        leaq    XSAVE_HEADER(%rsp), %rdi
        movl    $8, %ecx
        xorl    %eax, %eax
        rep stosq
        movl    $-1, %eax
        movl    $-1, %edx
        xsave64 (%rsp)
        fninit
        ldmxcsr default_mxcsr(%rip)
        movq    %rsp, %rdi
        subq    $CALL_SIZE, %rsp
        movq    %r15, 0(%rsp)
        movq    %r12, 8(%rsp)
        movq    %r13, 16(%rsp)
        movq    %r14, 24(%rsp)
        movq    %rbp, 32(%rsp)
        movq    %rdi, 40(%rsp)
        movq    %rsp, %rdi
        xorl    %ebp, %ebp                      # frame-pointer unwinders stop here
        call    pulp_suse_serve
        movq    %rax, %r12
        movq    40(%rsp), %rdi
        movl    $-1, %eax
        movl    $-1, %edx
        xrstor64 (%rdi)
# As soon as the mask is back, a signal that came in the meantime stops the thread, and the tool takes RAX for the answer: what
# this system call returns. So for success it succeeds, and for anything else it sets the mask and then fails, having nowhere
# to put the old one. (rt_sigreturn would put all in place at once, and take from the wait that was interrupted here what
# restart_syscall needs: poll(2) and nanosleep(2) would end with EINTR.)
        movl    $SYS_rt_sigprocmask, %eax
        movl    $SIG_SETMASK, %edi
        leaq    32(%rsp), %rsi
        xorl    %edx, %edx
        testq   %r12, %r12
        jz      2f
        decq    %rdx
2:      movl    $8, %r10d
        syscall
        movq    %r12, %rax
        movq    24(%rsp), %rsp
        ret
        .cfi_endproc
        .size   enter, . - enter

/* uint64_t pulp_on_stack(uint64_t (*function)(void *), void *argument, uint64_t top) */
        .globl  pulp_on_stack
        .hidden pulp_on_stack
        .type   pulp_on_stack, @function
        .balign 16
pulp_on_stack:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        movq    %rdx, %rsp
        movq    %rdi, %rax
        movq    %rsi, %rdi
        callq   *%rax
        leave
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size   pulp_on_stack, . - pulp_on_stack

        .section .rodata
        .balign 8
blocked_signals:        # all but SIGILL 4, SIGTRAP 5, SIGBUS 7, SIGFPE 8, SIGSEGV 11, SIGSYS 31: bit = number - 1
        .quad   ~((1 << 3) | (1 << 4) | (1 << 6) | (1 << 7) | (1 << 10) | (1 << 30))
default_mxcsr:
        .long   0x1f80          # all exceptions masked, round to nearest
        .section .note.GNU-stack, "", @progbits
#endif
