/* void pool_probe(void *stub, struct pool_area *area): loads every register but r11, calls the stub, stores them. The
 * stub's target is pool_old or pool_new, which store what they see and leave. Offsets: struct pool_area in pool_test.c.
 */
        .text
        .globl  pool_probe, pool_old, pool_new
        .type   pool_probe, @function
        .type   pool_old, @function
        .type   pool_new, @function
pool_probe:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsi, pool_area(%rip)
        mov     %rdi, pool_stub(%rip)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu 32 * \n(%rsi), %ymm\n
        .endr
        movabs  $0x2222222222222200, %rax
        .irp    r, rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r12,r13,r14,r15
        inc     %rax
        mov     %rax, %\r
        .endr
        mov     %rsp, expected_sp(%rip)
        std                                     # the direction flag is not the stub's either
        call    *pool_stub(%rip)
        cld
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

        .macro  arrive which
        mov     pool_area(%rip), %r11
        movq    $\which, 512(%r11)
        jmp     arrived
        .endm
        .balign 16
pool_old:
        arrive  1
        .balign 16
pool_new:
        arrive  2
arrived:
        mov     %rax, 520(%r11)
        .set    at, 528
        .irp    r, rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r12,r13,r14,r15
        mov     %\r, at(%r11)
        .set    at, at + 8
        .endr
        lea     8(%rsp), %rax
        sub     expected_sp(%rip), %rax
        mov     %rax, 632(%r11)
        pushfq
        pop     %rax
        mov     %rax, 640(%r11)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu %ymm\n, 672 + 32 * \n(%r11)
        .endr
        vzeroupper
        ret
        .bss
        .balign 8
pool_area:      .skip 8
pool_stub:      .skip 8
expected_sp:    .skip 8
        .section .note.GNU-stack, "", @progbits
