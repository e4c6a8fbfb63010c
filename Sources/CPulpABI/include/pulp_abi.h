/* pulp_abi.h: the contract between ulpsh and the runtime (libpulp.so) inside a target.
 *
 * Everything that both sides read or write in the target's memory is laid out here, once. All addresses are the target's
 * and are held as 64-bit integers, so that the tool can copy these structures out of another process as they are.
 * A change of any offset, state or rule below is a new PULP_ABI_VERSION. What is only added is found out otherwise: fields at
 * the end of pulp_ext by its `size`, flags of a request by the refusal of what is not known.
 *
 * Who writes what: the *carrier* (a borrowed thread of the target, inside the runtime's stage and unload functions)
 * fills patches, transitions and slots; the *tracer* does everything else, from outside. Only the tool that holds the
 * exclusive right (the SEIZE of the target's lowest live thread) writes at all.
 *
 * The one commit: `universe` is a single aligned 8-byte word. Every armed function goes through a selection stub that
 * compares it with its slot's `since`; so one store of the universe switches all functions of all libraries of a set.
 */
#ifndef PULP_ABI_H
#define PULP_ABI_H

#include <stdint.h>

#define PULP_ABI_VERSION 2u
#define PULP_LIBPULP_VERSION "0.4.0" /* of SUSE's interface: what __ulp_version says to SUSE's tool, and `ulp -V` to scripts */
#define PULP_EXT_MAGIC 0x317478655f706c75ull /* "ulp_ext1" */
#define PULP_REQUEST_MAGIC 0x7165725fu       /* "_req" */
/* The runtime's own, for a request that SUSE's tool has made: no function at all is allowed, and of the container's build
 * ID only the first 16 bytes are known. */
#define PULP_REQUEST_SUSE 1u
/* The tool's: constructors will run, and no filter of the carrier forbids getpid(2), sigaltstack(2) and sigaction(2).
 * See guest.c; a runtime of earlier times does without. */
#define PULP_REQUEST_GUEST 2u
/* Directly behind the patches of a request lie as many pulp_request_dependencies; a runtime of earlier times does without. */
#define PULP_REQUEST_DEPENDS 4u
#define PULP_PATCH_MAGIC 0x6863746150706c75ull /* "ulpPatch" */

#define PULP_POOL_COUNT 8192u
#define PULP_STUB_SIZE 48u
#define PULP_CALL_STACK_SIZE (1024u * 1024u)
#define PULP_BUILD_ID_MAX 64u
#define PULP_MESSAGE_MAX 2048u
#define PULP_MEMORY_FILES 32u

/* SUSE's layouts (their sizes are part of SUSE's interface). */
#define PULP_METADATA_BUFFER_SIZE 524288u
#define PULP_MSG_RING_SIZE 2097152u
#define PULP_INSN_BUFFER_SIZE 2097152u

struct pulp_state { /* __ulp_state */
  uint8_t load_state; /* 1 once the constructor ran */
  uint8_t padding[7];
  uint64_t patches; /* first applied pulp_record, newest first; linked by the tracer when an operation is settled */
};

struct pulp_record { /* SUSE's applied-patch record, 80 bytes since 0.3.1 */
  uint8_t id[32];
  uint64_t lib_name;       /* char *, basename of the target library */
  uint64_t container_name; /* char *, the path that was given to dlopen; of a memory file the path of what is in it */
  uint64_t units;          /* first pulp_unit */
  uint64_t next;           /* older pulp_record */
  uint64_t dependencies;   /* first pulp_dependency, or 0 */
  uint64_t time;           /* CLOCK_REALTIME seconds */
};

struct pulp_dependency { /* SUSE's: a patch that stays in force for as long as this one is */
  uint8_t id[32];
  uint8_t flag, padding[7]; /* 0 */
  uint64_t next;
};

struct pulp_unit { /* SUSE's applied-unit (40 bytes), then ours */
  uint64_t patched_addr; /* entry of the old function: the symbol's value plus load bias */
  uint64_t target_addr;  /* the replacement */
  uint8_t overwritten[14]; /* bytes at the entry before the first patch */
  uint8_t padding[2];
  uint64_t next;
  uint32_t point_offset; /* 4 after an endbr64, else 0; the point is patched_addr + point_offset */
  uint32_t reserved;
};

struct pulp_msg_queue { /* __ulp_msg_queue */
  char ring[PULP_MSG_RING_SIZE];
  uint32_t top, bottom, distance;
};

struct pulp_insn_queue { /* __ulp_insn_queue */
  uint32_t version, num_insns, size, padding;
  uint8_t buffer[PULP_INSN_BUFFER_SIZE];
};

/* Status numbers of the runtime's functions: SUSE's where SUSE has one (libpulp-abi 6). */
enum pulp_status {
  PULP_OK = 0,
  PULP_EAGAIN = 11,
  PULP_EUNKNOWN = 256,
  PULP_EBUILDID = 257,
  PULP_EINVALIDULP = 266,  /* the request is malformed */
  PULP_ENOOLDFUNC = 267,   /* a function to be replaced is not in the target library */
  PULP_ENONEWFUNC = 268,   /* replacement functions not found: all named in the mailbox's text, one a line */
  PULP_ENOMETA = 269,
  PULP_ESTATE = 270,       /* an operation is pending; to SUSE's tool: the patch could not be recorded */
  PULP_ENOTAPPLIED = 272,
  PULP_EDEPEND = 273,      /* a patch that this one needs is not in force, or one in force needs this one */
  PULP_EAPPLIED = 275,
  PULP_ENOTARGETLIB = 276, /* no library at target_bias */
  PULP_ENOPATCHABLE = 278, /* an entry is not prepared, or holds somebody else's bytes */
  PULP_EUSRBLOCKED = 280,
  PULP_EINITFAIL = 282,
  PULP_MPROTFAIL = 283,    /* gdb_ulp_apply: the process may not write to its own code */
  PULP_ENOPATCH = 284,     /* revert-all: the library is loaded and has no patch */
  PULP_EINSNQ = 285,       /* the operation does not fit into the instruction queue */
  PULP_EDLOPEN = 287,      /* the loader's message is in the mailbox's text */
  /* ours */
  PULP_EPOOLFULL = 400,
  PULP_ENOMEM = 401,
  PULP_ENOREFERENCE = 402, /* reference variables not found: all named in the mailbox's text */
  /* unload: dlclose succeeded but the loader keeps the container. Its block stays in `patches` with handle 0; unload may
   * be called again, and gives the block back once the container is gone. When another block names the same container,
   * this one is given back at once: the other says why the container is there. */
  PULP_STILL_LOADED = 403,
};

/* An operation: the transition of one process from universe U to U + 1. It outlives the tool. */
enum pulp_operation_state {
  PULP_OP_IDLE = 0,
  PULP_OP_STAGING = 1,  /* written by the carrier on entry */
  PULP_OP_STAGED = 2,   /* carrier's last store: containers loaded, transitions and slots filled */
  PULP_OP_ARMING = 3,   /* tracer, before the first padding of an armed entry is touched */
  /* Committed has no number: it is ARMING together with universe == operation.universe. */
  PULP_OP_SETTLING = 5, /* tracer: direct jumps are being written; finish it */
};

struct pulp_operation {
  uint64_t generation;   /* incremented before and after each change by the tracer; odd while it changes lists */
  uint32_t state;        /* enum pulp_operation_state */
  uint32_t transition_count;
  uint64_t universe;     /* the universe this operation leads to */
  uint64_t owner_pid;    /* the process this journal belongs to, as the tool numbers it. A fork child's copy differs: void */
  uint64_t owner_start;  /* its start time, field 22 of /proc/PID/stat */
  uint64_t token;        /* chosen by the tool: tells a session its own operation from another's */
  uint64_t tool_pid;     /* who staged it, for messages */
  uint64_t first_patch;  /* pulp_patch blocks loaded by this operation, linked by op_next */
};

/* One function of an operation. Slots and entries are derived from it. */
struct pulp_transition {
  uint64_t entry;
  uint64_t old_target; /* what calls reach before the commit: entry + point_offset + 2 is the original body */
  uint64_t new_target; /* what calls reach after it */
  uint32_t slot;       /* index into the pool */
  uint32_t point_offset;
};

struct pulp_slot { /* one for each stub; `since` = UINT64_MAX: reserved but selecting `old`; all zero: free */
  uint64_t since;
  uint64_t new_target;
  uint64_t old_target;
  uint64_t entry;
};

/* What is to become of a container, decided by the tool that applied it and kept here for whoever reverts it. */
enum pulp_patch_flags {
  PULP_PATCH_WAS_LOADED = 1, /* runtime: the loader had this container already; its constructors did not run now */
  PULP_PATCH_KEEP = 2,       /* request: something in it may still be used after a revert; unload it only on demand */
  PULP_PATCH_PIN = 4,        /* request: hold the target library open for as long as the patch is in force */
  PULP_PATCH_LOST = 8,       /* tracer: went out of force because its target library had gone or was loaded anew */
  PULP_PATCH_MEMORY = 16, /* runtime: it was loaded from a memory file */
  PULP_PATCH_GUEST = 32,  /* runtime: it was loaded with PULP_REQUEST_GUEST, and is unloaded with the same care */
  PULP_PATCH_REASON = 0xff00, /* request: why it is to be kept, as the tool numbers reasons */
  PULP_PATCH_REQUESTED = PULP_PATCH_KEEP | PULP_PATCH_PIN | PULP_PATCH_REASON,
};
/* Bits 32 to 63 of a request's flags: 0, or 1 + the index of the memory file that is loaded instead of the path. */
#define PULP_PATCH_FILE_SHIFT 32

/* A memory file, made by memory_open for one stage, filled and sealed by the tracer. Other descriptors of the program may
 * take its number as soon as the program closes it: device and inode tell. */
struct pulp_memory_file {
  uint64_t device, inode; /* as fstat(2) gives them */
  uint32_t descriptor;
  uint32_t is_open;  /* last to be set */
  uint32_t serial;   /* how many there were before, in this process */
  uint32_t reserved;
};

/* A loaded container. One anonymous mapping of `block_size` bytes holds this, its units, dependencies and strings. */
struct pulp_patch {
  struct pulp_record record;
  uint64_t magic;
  uint64_t block_size;
  uint64_t next;              /* all patches, newest first: loaded, applied, retired */
  uint64_t op_next;           /* next patch of the same operation */
  uint64_t handle;            /* dlopen's */
  uint64_t container_base;    /* load bias */
  uint64_t container_start, container_end; /* mapped extent */
  uint64_t target_bias;       /* load bias of the target library when it was patched */
  uint64_t applied_universe;  /* in force from this universe on; UINT64_MAX until staged */
  uint64_t reverted_universe; /* not in force from this universe on; 0 = never reverted */
  uint32_t unit_count;
  uint32_t flags;             /* enum pulp_patch_flags */
  uint32_t build_id_size;
  uint32_t target_build_id_size;
  uint8_t build_id[PULP_BUILD_ID_MAX];        /* of the container */
  uint8_t target_build_id[PULP_BUILD_ID_MAX];
  uint64_t target_handle;     /* dlopen's for a pinned target library, else 0 */
};

/* The remote call. The frame lies on the carrier's own stack below its red zone, 64-byte aligned; for a carrier on a stack of
 * unknown size (a coroutine) it lies at the top of the call stack, and the callee below it. The tracer writes it,
 * then `mailbox`, then the registers (rip = call_entry, rsp = call_stack_top, r12 = the frame). On return the runtime
 * restores everything from the frame: nothing depends on the tracer any more. */
struct pulp_call_frame {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t exit_sp;  /* address of {rflags, rip}, which lie just below the red zone: original rsp - 128 - 16 */
  uint64_t sigmask;  /* the kernel's 64-bit signal set */
  uint64_t function;
  uint64_t arguments[6];
  uint64_t sequence; /* copied to the mailbox with the result */
  uint64_t reserved[7];
  uint8_t xsave[];   /* at 256: XSAVE image in standard (non-compacted) form, as PTRACE_GETREGSET NT_X86_XSTATE gives it */
};

enum pulp_call_state {
  PULP_CALL_NONE = 0,
  PULP_CALL_ARMED = 1,   /* tracer: the frame is written, the registers follow */
  PULP_CALL_RUNNING = 2, /* carrier, first thing */
  PULP_CALL_DONE = 3,    /* carrier: result is valid; from here on it uses only its own stack */
  PULP_CALL_ABANDONED = 4, /* left through call_abandon */
};

struct pulp_mailbox {
  uint32_t state;      /* enum pulp_call_state */
  uint32_t carrier;    /* tid, as the tool numbers it */
  uint64_t sequence;   /* of the call that `result` belongs to */
  uint64_t result;     /* rax */
  uint64_t result_high; /* rdx */
  uint64_t owner_pid, owner_start; /* as in pulp_operation */
  uint32_t text_size;
  uint32_t frame_in_stack; /* tracer: 1 when the frame lies in the call stack, which the carrier then uses beyond the result */
  char text[PULP_MESSAGE_MAX]; /* what went wrong, from stage and unload; not NUL-terminated */
};

/* __ulp_ext: where everything is. */
struct pulp_ext {
  uint64_t magic;
  uint32_t version;
  uint32_t size;
  uint32_t pool_count, stub_size;
  uint64_t pool_start, pool_end; /* text of the stubs */
  uint64_t slots;                /* struct pulp_slot[pool_count] */
  uint64_t universe;             /* uint64_t; starts at 1 */
  uint64_t operation;            /* struct pulp_operation */
  uint64_t transitions;          /* struct pulp_transition[pool_count] */
  uint64_t patches;              /* uint64_t: first pulp_patch */
  uint64_t mailbox;
  uint64_t call_entry;           /* see pulp_call_frame */
  uint64_t call_leave;           /* rax = result, r12 = frame: what a returning callee reaches */
  uint64_t call_abandon;         /* r12 = frame: leave without a result, after a fault in the callee */
  uint64_t call_text_start, call_text_end;
  uint64_t call_stack_bottom, call_stack_top; /* 0 when the constructor could not map it */
  uint64_t request;              /* where pulp_request goes: __ulp_metadata_buffer */
  uint64_t request_size;
  uint64_t stage;                /* uint64_t stage(void): pulp_status */
  /* uint64_t unload(struct pulp_patch *): pulp_status; dlclose, unlink (from `patches`, the operation and `state`), unmap.
   * PULP_ESTATE while the patch is in force or any slot's new or old target lies in the container: zero those first. */
  uint64_t unload;
  uint64_t pin_offset;           /* offset of the thread's pinned universe from its thread pointer */
  uint64_t error_state;          /* int32_t: __ulp_error_state */
  uint64_t messages;             /* struct pulp_msg_queue */
  uint64_t state;                /* struct pulp_state */
  /* uint64_t retire(struct pulp_patch *): pulp_status; the container stays mapped, the target library is let go, and the
   * block is given back when another names the same container. PULP_ESTATE as in unload. */
  uint64_t retire;
  uint64_t memory_files;         /* struct pulp_memory_file[PULP_MEMORY_FILES] */
  /* int64_t memory_open(const char *name): memfd_create; the index of the file, or -errno. */
  uint64_t memory_open;
  /* uint64_t memory_close(void): closes all that are open, and says how many. stage does so at its end, whatever it is. */
  uint64_t memory_close;
  /* struct pulp_insn_queue. Who ends an operation empties it: SUSE's tool carries out what it finds there after any call. */
  uint64_t queue;
};

/* What the tool asks stage() to do. Offsets are from the start of the request; strings are NUL-terminated. The runtime
 * trusts none of them: every offset and count is checked against `size`. The arrays of structures are 8-byte aligned;
 * strings have less than 16384 bytes; a path is absolute. Build IDs are compared as they are: size 0 means "has none".
 * Entries must lie in the code, references in the mapping, of the library at target_bias. */
struct pulp_request {
  uint32_t magic, version;
  uint32_t size;
  uint32_t patch_count, patches_offset;    /* struct pulp_request_patch[] */
  uint32_t revert_count, reverts_offset;   /* uint8_t id[32][] of patches to be left */
  uint32_t flags;                          /* PULP_REQUEST_GUEST, PULP_REQUEST_DEPENDS; see PULP_REQUEST_SUSE */
  uint64_t owner_pid, owner_start, token, tool_pid;
};

struct pulp_request_patch {
  uint8_t id[32];
  uint64_t target_bias;
  uint64_t flags; /* of enum pulp_patch_flags, those of PULP_PATCH_REQUESTED */
  uint32_t path_offset, lib_name_offset;
  uint32_t unit_count, units_offset;
  uint32_t reference_count, references_offset;
  uint32_t build_id_size, target_build_id_size;
  uint8_t build_id[PULP_BUILD_ID_MAX];
  uint8_t target_build_id[PULP_BUILD_ID_MAX];
};

struct pulp_request_dependencies {
  uint32_t count, offset; /* uint8_t id[32][count] of patches that have to be in force for as long as this one is */
};

struct pulp_request_unit {
  uint64_t entry;
  uint32_t point_offset; /* 0 or 4 */
  uint32_t new_name_offset;
};

struct pulp_request_reference {
  uint64_t target_offset; /* from target_bias; for TLS the offset inside the module's block */
  uint64_t patch_offset;  /* from the container's bias; 0: look the name up */
  uint32_t name_offset;
  uint32_t tls;           /* 1: write {module id, offset} (16 bytes), else the address (8 bytes) */
};

#ifndef __cplusplus
#include <stddef.h>
_Static_assert(sizeof(struct pulp_record) == 80, "SUSE's record");
_Static_assert(sizeof(struct pulp_dependency) == 48, "SUSE's dependency");
_Static_assert(offsetof(struct pulp_unit, next) == 32, "SUSE's unit");
_Static_assert(sizeof(struct pulp_state) == 16, "SUSE's state");
_Static_assert(sizeof(struct pulp_msg_queue) == 2097164, "SUSE's message queue");
_Static_assert(sizeof(struct pulp_insn_queue) == 2097168, "SUSE's instruction queue");
_Static_assert(sizeof(struct pulp_slot) == 32, "the stubs index by it");
_Static_assert(sizeof(struct pulp_transition) == 32, "transition");
_Static_assert(offsetof(struct pulp_call_frame, exit_sp) == 120, "call.S");
_Static_assert(offsetof(struct pulp_call_frame, sigmask) == 128, "call.S");
_Static_assert(offsetof(struct pulp_call_frame, function) == 136, "call.S");
_Static_assert(offsetof(struct pulp_call_frame, arguments) == 144, "call.S");
_Static_assert(offsetof(struct pulp_call_frame, sequence) == 192, "call.S");
_Static_assert(offsetof(struct pulp_call_frame, xsave) == 256, "call.S; must be 64-byte aligned");
_Static_assert(offsetof(struct pulp_mailbox, state) == 0, "call.S");
_Static_assert(offsetof(struct pulp_mailbox, sequence) == 8, "call.S");
_Static_assert(offsetof(struct pulp_mailbox, result) == 16, "call.S");
_Static_assert(offsetof(struct pulp_operation, state) == 8, "operation");
_Static_assert(sizeof(struct pulp_operation) == 64, "operation");
_Static_assert(offsetof(struct pulp_patch, magic) == 80, "SUSE's record comes first");
#endif

#endif
