/* void probe(uint64_t spins, struct probe_area *area): loads every register that user code can see from the area, spins,
 * and stores them again; probe.h compares. Only %rsp and the word it points to are relied upon in between: the 128 bytes
 * below are a red zone in use.
 */
        .macro  each_zmm operation
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        \operation \n
        .endr
        .endm
        .macro  load_zmm n
        vmovdqu64 64 + 64 * \n(%rsi), %zmm\n
        .endm
        .macro  store_zmm n
        vmovdqu64 %zmm\n, 2560 + 64 * \n(%rcx)
        .endm

        .text
        .globl  probe
        .type   probe, @function
probe:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rsi
        mov     %rsp, 0(%rsi)
        mov     %rdi, %rcx
        each_zmm load_zmm
        .irp    n, 1,2,3,4,5,6,7
        kmovq   2112 + 8 * \n(%rsi), %k\n
        .endr
        ldmxcsr 2176(%rsi)
        fninit
        fldpi
        fld1
        movabs  $0x5ed20e0000000000, %rax
        .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
        inc     %rax
        mov     %rax, -8 * \n(%rsp)
        .endr
        movabs  $0x1111111111111100, %rax
        .irp    r, rbx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15
        inc     %rax
        mov     %rax, %\r
        .endr
        stc
1:      inc     %rdx                    # neither touches the carry
        dec     %rcx
        jnz     1b
        mov     (%rsp), %rcx
        setnc   2368(%rcx)
        mov     %rax, 2240(%rcx)
        .set    at, 2248
        .irp    r, rbx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15
        mov     %\r, at(%rcx)
        .set    at, at + 8
        .endr
        mov     %rsp, 2376(%rcx)
        .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
        mov     -8 * \n(%rsp), %rax
        mov     %rax, 2376 + 8 * \n(%rcx)
        .endr
        each_zmm store_zmm
        .irp    n, 1,2,3,4,5,6,7
        kmovq   %k\n, 4608 + 8 * \n(%rcx)
        .endr
        stmxcsr 4672(%rcx)
        fstpt   4680(%rcx)
        fstpt   4696(%rcx)
        pushq   $0x1f80
        ldmxcsr (%rsp)
        add     $16, %rsp
        fninit
        vzeroupper
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
        .size   probe, . - probe

/* void clobber(void): leaves nothing in the vector, mask and x87 state as it was. */
        .macro  ones n
        vpternlogd $0xff, %zmm\n, %zmm\n, %zmm\n
        .endm
        .globl  clobber
        .type   clobber, @function
clobber:
        each_zmm ones
        .irp    n, 1,2,3,4,5,6,7
        kxnorq  %k\n, %k\n, %k\n
        .endr
        pushq   $0x7fc0                 # masked, flush to zero ..., round to zero
        ldmxcsr (%rsp)
        pop     %rax
        fninit
        fldz
        fldz
        fldz
        ret
        .size   clobber, . - clobber
        .section .note.GNU-stack, "", @progbits
