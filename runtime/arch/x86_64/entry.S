/* entry.S: SUSE's entry points. Its tool sets rip to entry + 2 and waits for the int3; RAX is the result. */
#ifdef __x86_64__
#if __has_include(<cet.h>)
#include <cet.h>
#endif
        .text
        .balign 16

        .macro ENTRY name, body
        .globl  \name           # no .type, no .size: NOTYPE and 0, as in SUSE's library
\name:
        .byte   0x90, 0x90      # on return from an interrupted system call the kernel takes 2 from rip
        call    \body           # rsp is 64-byte aligned here: the call gives C what it expects
        int3                    # tells the tool that we are done
        .endm

        ENTRY   __ulp_trigger, pulp_suse_trigger
        ENTRY   __ulp_revert_all, pulp_suse_revert_all
        ENTRY   __ulp_check_patched, pulp_suse_check_patched
        ENTRY   __ulp_get_global_universe, pulp_suse_get_global_universe
        ENTRY   __ulp_enable_or_disable_patching, pulp_suse_enable_or_disable_patching
        .section .note.GNU-stack, "", @progbits
#endif
