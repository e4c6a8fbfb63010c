/* call.S: the remote call that heals itself. The tracer leaves a frame on the carrier's own stack (struct
 * pulp_call_frame) and sets rip = pulp_call_entry, rsp = the call stack's top, r12 = the frame; from the first
 * instruction on nothing depends on the tracer. The last part puts back exactly what the frame holds: mask, vector state,
 * general registers, flags, red zone, and the kernel's restart block, because no system call but rt_sigprocmask is made
 * after the callee has returned. (The callee itself can spoil the last: nanosleep and clock_nanosleep reset it, so a
 * carrier taken out of a timed sleep gets EINTR when a constructor sleeps.)
 *
 * A return address does not exist here: unwinders stop, and a signal handler that is called late (its frame lies below
 * ours) sees a stack whose saved registers are all in the frame.
 */
#ifdef __x86_64__
#if __has_include(<cet.h>)
#include <cet.h>
#endif

/* struct pulp_call_frame */
#define FRAME_EXIT_SP   120
#define FRAME_SIGMASK   128
#define FRAME_FUNCTION  136
#define FRAME_ARGUMENTS 144
#define FRAME_SEQUENCE  192
#define FRAME_XSAVE     256
/* struct pulp_mailbox */
#define MAILBOX_SEQUENCE    8
#define MAILBOX_RESULT      16
#define MAILBOX_RESULT_HIGH 24
/* enum pulp_call_state */
#define CALL_RUNNING   2
#define CALL_DONE      3
#define CALL_ABANDONED 4

#define SYS_rt_sigprocmask 14
#define SIG_SETMASK        2

        .text
        .balign 64
        .globl  pulp_call_text_start, pulp_call_text_end
        .hidden pulp_call_text_start, pulp_call_text_end
        .globl  pulp_call_entry, pulp_call_leave, pulp_call_abandon
        .hidden pulp_call_entry, pulp_call_leave, pulp_call_abandon
        .type   pulp_call_entry, @function
        .type   pulp_call_leave, @function
        .type   pulp_call_abandon, @function
pulp_call_text_start:
pulp_call_entry:
        .cfi_startproc
        .cfi_undefined %rip
        # A tracer that dies before it has set the mask must not let a handler run in the middle of the loader.
        movl    $SYS_rt_sigprocmask, %eax
        movl    $SIG_SETMASK, %edi
        leaq    blocked_signals(%rip), %rsi
        xorl    %edx, %edx                      # the old mask is in the frame
        movl    $8, %r10d                       # sizeof(kernel sigset_t)
        syscall
        movl    $CALL_RUNNING, pulp_mailbox(%rip)
        cld                                     # the psABI's state at a function's entry:
        fninit                                  # x87 and
        ldmxcsr default_mxcsr(%rip)             # SSE as a new thread has them
        movq    FRAME_ARGUMENTS + 0(%r12), %rdi
        movq    FRAME_ARGUMENTS + 8(%r12), %rsi
        movq    FRAME_ARGUMENTS + 16(%r12), %rdx
        movq    FRAME_ARGUMENTS + 24(%r12), %rcx
        movq    FRAME_ARGUMENTS + 32(%r12), %r8
        movq    FRAME_ARGUMENTS + 40(%r12), %r9
        xorl    %ebp, %ebp                      # frame-pointer unwinders stop here as well
        xorl    %eax, %eax                      # no vector arguments, should it be variadic
        callq   *FRAME_FUNCTION(%r12)           # r12 is the callee's to preserve
        .size   pulp_call_entry, . - pulp_call_entry
pulp_call_leave:
        movq    %rax, pulp_mailbox + MAILBOX_RESULT(%rip)
        movq    %rdx, pulp_mailbox + MAILBOX_RESULT_HIGH(%rip)
        movq    FRAME_SEQUENCE(%r12), %rcx
        movq    %rcx, pulp_mailbox + MAILBOX_SEQUENCE(%rip)
        movl    $CALL_DONE, pulp_mailbox(%rip)  # last store: the call stack may be given to the next carrier
        jmp     restore
        .size   pulp_call_leave, . - pulp_call_leave
pulp_call_abandon:
        movl    $CALL_ABANDONED, pulp_mailbox(%rip)
restore:
        movq    %r12, %rsp                      # onto the thread's own stack, below which all is free for handlers
        movl    $SYS_rt_sigprocmask, %eax
        movl    $SIG_SETMASK, %edi
        leaq    FRAME_SIGMASK(%rsp), %rsi
        xorl    %edx, %edx
        movl    $8, %r10d
        syscall                                 # pending signals are delivered here, with everything still in the frame
        movl    $-1, %eax
        movl    $-1, %edx                       # all components the CPU has
        xrstor64 FRAME_XSAVE(%rsp)
        movq    0(%rsp), %rax
        movq    8(%rsp), %rbx
        movq    16(%rsp), %rcx
        movq    24(%rsp), %rdx
        movq    32(%rsp), %rsi
        movq    40(%rsp), %rdi
        movq    48(%rsp), %rbp
        movq    56(%rsp), %r8
        movq    64(%rsp), %r9
        movq    72(%rsp), %r10
        movq    80(%rsp), %r11
        movq    88(%rsp), %r12
        movq    96(%rsp), %r13
        movq    104(%rsp), %r14
        movq    112(%rsp), %r15
        movq    FRAME_EXIT_SP(%rsp), %rsp       # at {rflags, rip}, just below the red zone
        popfq
        ret     $128                            # rip, and over the red zone to the original rsp
        .size   pulp_call_abandon, . - pulp_call_abandon
        .cfi_endproc
pulp_call_text_end:

/* uint64_t pulp_pin_offset(void): where pulp_pin lies from the thread pointer. The same in every thread. */
        .globl  pulp_pin_offset
        .hidden pulp_pin_offset
        .type   pulp_pin_offset, @function
        .balign 16
pulp_pin_offset:
        .cfi_startproc
        endbr64
        movq    pulp_pin@gottpoff(%rip), %rax
        ret
        .cfi_endproc
        .size   pulp_pin_offset, . - pulp_pin_offset

        .section .rodata
        .balign 8
blocked_signals:        # all but SIGILL 4, SIGTRAP 5, SIGBUS 7, SIGFPE 8, SIGSEGV 11, SIGSYS 31: bit = number - 1
        .quad   ~((1 << 3) | (1 << 4) | (1 << 6) | (1 << 7) | (1 << 10) | (1 << 30))
default_mxcsr:
        .long   0x1f80          # all exceptions masked, round to nearest
        .section .note.GNU-stack, "", @progbits
#endif
