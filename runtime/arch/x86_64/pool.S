/* pool.S: the selection stubs. An armed function's padding jumps to stub i, and that jumps on to slot i's new or old
 * version, whichever the universe says. Nothing here is ever written at run time, and no relocation points here.
 *
 * A stub may use r11 and the arithmetic flags and nothing else: r11 is dead at every function entry, whereas al counts
 * vector arguments, r10 is the static chain and rax Swift's indirect result. It has no frame, so the caller's return
 * address is on top of the stack at every instruction (the CFA that .cfi_startproc begins with).
 */
#ifdef __x86_64__
#if __has_include(<cet.h>)
#include <cet.h>
#endif
        # A section of its own, so far from .text that the linker begins a new segment for it: the kernel maps the pages
        # around a fault along with it, up to 64 KiB but never beyond the mapping. Next to .text, running our code would
        # make 128 KiB of stubs resident.
        .section .pulp_pool, "ax", @progbits
        .balign 65536
        .globl  pulp_pool_start, pulp_pool_end
        .hidden pulp_pool_start, pulp_pool_end
        .type   pulp_pool_start, @function
pulp_pool_start:
        .cfi_startproc
        .set    slot, 0
        .rept   8192                                    # PULP_POOL_COUNT
        endbr64                                         # reached by an indirect jump
        movq    pulp_pin@gottpoff(%rip), %r11           # initial-exec: no call, so no register is lost
        movq    %fs:(%r11), %r11                        # this thread's own universe
        testq   %r11, %r11                              # universes start at 1: 0 means it has none
        cmovzq  pulp_universe(%rip), %r11
        cmpq    pulp_slots + slot(%rip), %r11           # slot.since
        jb      1f
        jmpq    *pulp_slots + slot + 8(%rip)            # slot.new_target
1:      jmpq    *pulp_slots + slot + 16(%rip)           # slot.old_target
        int3                                            # 47 bytes of code, 48 of stub
        .set    slot, slot + 32                         # sizeof(struct pulp_slot)
        .endr
        .cfi_endproc
        .size   pulp_pool_start, . - pulp_pool_start
        .org    pulp_pool_start + 8192 * 48             # an error, should a stub ever outgrow PULP_STUB_SIZE
pulp_pool_end:
        .section .note.GNU-stack, "", @progbits
#endif
