/* unwind.c: who called, by the call frame information that every object brings (.eh_frame: LSB Core 10.6, DWARF 5 6.4).
 * Reads tables that the loader has mapped, and stacks through pulp_peek; allocates nothing, asks nobody. What it does not
 * understand (expressions, registers that nobody has saved) ends the walk with "unknown", never with a guess. A signal frame
 * is told by expressions as well; of that one the layout is known.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <link.h>
#include <sys/auxv.h>

PULP_RARE_CODE

enum { MODULE_MAX = 1024, HEADER_MAX = 24, REMEMBER_MAX = 8, RSP = 7, RA = 16, REGISTERS = PULP_UNWIND_REGISTERS };
enum { ENCODED_PC_RELATIVE = 0x10, ENCODED_TABLE = 0x3b /* datarel, sdata4 */ };

struct module {
  uint64_t start, end, frame_header;
  uint64_t tables_start, tables_end; /* the segment that holds the header, and what it leads to */
};
static struct {
  struct module entries[MODULE_MAX];
  uint32_t count;
} modules;

static void add_module(uint64_t bias, const ElfW(Phdr) *headers, uint32_t count) {
  struct module *module = &modules.entries[modules.count];
  *module = (struct module){.start = PULP_NEVER};
  for (uint32_t index = 0; index < count; index++) {
    uint64_t start = bias + headers[index].p_vaddr, end = start + headers[index].p_memsz;
    if (headers[index].p_type == PT_GNU_EH_FRAME) module->frame_header = start;
    if (headers[index].p_type != PT_LOAD) continue;
    if (start < module->start) module->start = start;
    if (end > module->end) module->end = end;
  }
  for (uint32_t index = 0; index < count; index++) {
    uint64_t start = bias + headers[index].p_vaddr, end = start + headers[index].p_filesz;
    if (headers[index].p_type != PT_LOAD || !(headers[index].p_flags & PF_R)) continue;
    if (module->frame_header < start || module->frame_header >= end) continue;
    module->tables_start = start;
    module->tables_end = end;
  }
  if (module->end) modules.count++;
}

/* Once for each check: the list does not change while all threads are stopped. */
void pulp_unwind_prepare(void) {
  struct pulp_object object;
  ElfW(Phdr) headers[HEADER_MAX];
  ElfW(Ehdr) header;
  modules.count = 0;
  for (bool more = pulp_object_first(&object); more && modules.count < MODULE_MAX; more = pulp_object_next(&object)) {
    uint64_t at = getauxval(AT_PHDR), count = getauxval(AT_PHNUM);
    if (!object.is_program) {
      if (pulp_peek(object.bias, &header, sizeof header) != sizeof header ||
          !pulp_equal(header.e_ident, ELFMAG, SELFMAG))
        continue;
      at = object.bias + header.e_phoff, count = header.e_phnum;
    }
    if (count > HEADER_MAX) count = HEADER_MAX;
    if (pulp_peek(at, headers, count * sizeof *headers) == count * sizeof *headers)
      add_module(object.bias, headers, (uint32_t)count);
  }
}

struct reader {
  const uint8_t *at, *end;
  bool failed;
};

static uint64_t fixed(struct reader *reader, uint32_t size) {
  uint64_t value = 0;
  if ((uint64_t)(reader->end - reader->at) < size) {
    reader->failed = true;
    reader->at = reader->end;
    return 0;
  }
  pulp_copy(&value, reader->at, size);
  reader->at += size;
  return value;
}

static void skip(struct reader *reader, uint64_t size) {
  if ((uint64_t)(reader->end - reader->at) < size) reader->failed = true;
  reader->at = reader->failed ? reader->end : reader->at + size;
}

static uint64_t leb128(struct reader *reader, bool is_signed) {
  uint64_t value = 0;
  uint32_t shift = 0, byte;
  do {
    byte = (uint32_t)fixed(reader, 1);
    if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
    shift += 7;
  } while (byte & 0x80 && !reader->failed);
  if (is_signed && byte & 0x40 && shift < 64) value |= ~0ull << shift;
  return value;
}

static uint32_t encoded_size(uint8_t encoding) {
  static const uint8_t sizes[16] = {8, 0, 2, 4, 8, 0, 0, 0, 0, 0, 2, 4, 8, 0, 0, 0};
  return sizes[encoding & 15];
}

static uint64_t encoded(struct reader *reader, uint8_t encoding, bool is_length) {
  uint64_t here = (uintptr_t)reader->at, value;
  uint32_t size = encoded_size(encoding);
  if (!size || (encoding & 0x60) || (encoding & 0x80)) reader->failed = true;
  value = fixed(reader, size);
  if (!is_length && (encoding & 8) && size == 4) value = (uint64_t)(int64_t)(int32_t)value;
  return is_length || !(encoding & ENCODED_PC_RELATIVE) ? value : value + here;
}

struct description { /* an FDE with its CIE */
  struct reader initial, body;
  uint64_t start, code_alignment, data_alignment;
  bool is_signal_frame;
};

static bool read_record(const struct module *module, uint64_t at, struct reader *ret) {
  uint32_t length;
  if (at < module->tables_start || at >= module->tables_end || module->tables_end - at < sizeof length) return false;
  pulp_copy(&length, (const void *)(uintptr_t)at, sizeof length);
  if (!length || length == 0xffffffff || length > module->tables_end - at - sizeof length) return false;
  *ret = (struct reader){.at = (const void *)(uintptr_t)(at + 4), .end = (const void *)(uintptr_t)(at + 4 + length)};
  return true;
}

/* Version, augmentation, alignments, return address column; what follows are instructions. */
static bool read_common(const struct module *module, uint64_t at, struct description *ret, uint8_t *encoding) {
  struct reader reader;
  if (!read_record(module, at, &reader) || fixed(&reader, 4)) return false;
  uint64_t version = fixed(&reader, 1);
  const char *augmentation = (const char *)reader.at;
  while (fixed(&reader, 1)) continue;
  if (reader.failed) return false;
  ret->code_alignment = leb128(&reader, false);
  ret->data_alignment = leb128(&reader, true);
  if ((version == 1 ? fixed(&reader, 1) : leb128(&reader, false)) != RA) return false;
  *encoding = 0;
  ret->is_signal_frame = false;
  if (*augmentation && *augmentation != 'z') return false;
  if (*augmentation) {
    uint64_t size = leb128(&reader, false);
    struct reader data = reader;
    skip(&reader, size);
    for (augmentation++; *augmentation; augmentation++) {
      if (*augmentation == 'R') *encoding = (uint8_t)fixed(&data, 1);
      else if (*augmentation == 'L') fixed(&data, 1);
      else if (*augmentation == 'P') fixed(&data, encoded_size((uint8_t)fixed(&data, 1)));
      else if (*augmentation == 'S') ret->is_signal_frame = true;
      else return false;
    }
    if (data.failed) return false;
  }
  ret->initial = reader;
  return !reader.failed;
}

static bool read_description(const struct module *module, uint64_t at, uint64_t pc, struct description *ret) {
  struct reader reader;
  uint8_t encoding;
  if (!read_record(module, at, &reader)) return false;
  uint64_t place = (uintptr_t)reader.at, common = place - (uint32_t)fixed(&reader, 4);
  if (common == place || !read_common(module, common, ret, &encoding)) return false;
  ret->start = encoded(&reader, encoding, false);
  uint64_t length = encoded(&reader, encoding, true), extra = leb128(&reader, false);
  if (reader.failed || pc < ret->start || pc >= ret->start + length) return false;
  skip(&reader, extra);
  ret->body = reader;
  return !reader.failed;
}

/* The table of the header is sorted by address: pairs of 4-byte offsets from the header. */
static bool find_description(uint64_t pc, struct description *ret) {
  const struct module *module = modules.entries, *end = module + modules.count;
  while (module < end && !(module->frame_header && pc >= module->start && pc < module->end)) module++;
  if (module == end) return false;
  const uint8_t *header = (const void *)(uintptr_t)module->frame_header;
  struct reader reader = {.at = header, .end = (const void *)(uintptr_t)module->tables_end};
  skip(&reader, 4);
  if (!module->tables_end || reader.failed || header[0] != 1 || header[3] != ENCODED_TABLE) return false;
  encoded(&reader, header[1], false);
  uint64_t count = encoded(&reader, header[2], true);
  const int32_t *table = (const void *)reader.at;
  if (reader.failed || !count || count > (uint64_t)(reader.end - reader.at) / 8) return false;
  uint64_t low = 0, high = count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (module->frame_header + (uint64_t)(int64_t)table[middle * 2] <= pc) low = middle + 1;
    else high = middle;
  }
  return low && read_description(module, module->frame_header + (uint64_t)(int64_t)table[low * 2 - 1], pc, ret);
}

/* How the caller's registers are found. */
enum rule { SAME, UNDEFINED, AT_OFFSET, STRANGE };
struct rules {
  uint64_t cfa_register, cfa_offset;
  bool cfa_is_strange;
  uint8_t kind[REGISTERS];
  uint64_t offset[REGISTERS];
};

static void set_rule(struct rules *rules, uint64_t reg, uint8_t kind, uint64_t offset) {
  if (reg >= REGISTERS) return;
  rules->kind[reg] = kind;
  rules->offset[reg] = offset;
}

/* Up to the row that holds for `pc`; false when there is an instruction that we do not know. */
static bool execute(struct reader reader, const struct description *from, uint64_t pc, struct rules *rules,
                    const struct rules *initial) {
  struct rules remembered[REMEMBER_MAX];
  uint64_t location = from->start, first, reg;
  uint32_t depth = 0;
  while (reader.at < reader.end && !reader.failed) {
    uint8_t byte = (uint8_t)fixed(&reader, 1), low = byte & 0x3f;
    switch (byte & 0xc0 ? byte & 0xc0 : byte) {
    case 0x40: location += low * from->code_alignment; break;
    case 0x80: set_rule(rules, low, AT_OFFSET, leb128(&reader, false) * from->data_alignment); break;
    case 0xc0: if (low < REGISTERS) set_rule(rules, low, initial->kind[low], initial->offset[low]); break;
    case 0x00: break;
    case 0x02: location += fixed(&reader, 1) * from->code_alignment; break;
    case 0x03: location += fixed(&reader, 2) * from->code_alignment; break;
    case 0x04: location += fixed(&reader, 4) * from->code_alignment; break;
    case 0x05: first = leb128(&reader, false);
      set_rule(rules, first, AT_OFFSET, leb128(&reader, false) * from->data_alignment); break;
    case 0x06: reg = leb128(&reader, false);
      if (reg < REGISTERS) set_rule(rules, reg, initial->kind[reg], initial->offset[reg]);
      break;
    case 0x07: set_rule(rules, leb128(&reader, false), UNDEFINED, 0); break;
    case 0x08: set_rule(rules, leb128(&reader, false), SAME, 0); break;
    case 0x09: set_rule(rules, leb128(&reader, false), STRANGE, 0), leb128(&reader, false); break;
    case 0x0a: if (depth == REMEMBER_MAX) return false;
      pulp_copy(&remembered[depth++], rules, sizeof *rules); break;
    case 0x0b: if (!depth) return false;
      pulp_copy(rules, &remembered[--depth], sizeof *rules); break;
    case 0x0c: rules->cfa_register = leb128(&reader, false), rules->cfa_offset = leb128(&reader, false);
      rules->cfa_is_strange = false; break;
    case 0x0d: rules->cfa_register = leb128(&reader, false); break;
    case 0x0e: rules->cfa_offset = leb128(&reader, false); break;
    case 0x0f: rules->cfa_is_strange = true, skip(&reader, leb128(&reader, false)); break;
    case 0x10: case 0x16: set_rule(rules, leb128(&reader, false), STRANGE, 0);
      skip(&reader, leb128(&reader, false)); break;
    case 0x11: first = leb128(&reader, false);
      set_rule(rules, first, AT_OFFSET, leb128(&reader, true) * from->data_alignment); break;
    case 0x12: rules->cfa_register = leb128(&reader, false);
      rules->cfa_offset = leb128(&reader, true) * from->data_alignment, rules->cfa_is_strange = false; break;
    case 0x13: rules->cfa_offset = leb128(&reader, true) * from->data_alignment; break;
    case 0x2e: leb128(&reader, false); break;
    default: return false;
    }
    if (location > pc) break;
  }
  return !reader.failed;
}

/* A handler returns to rt_sigreturn, with the stack pointer at the context that the kernel has put there (arch/x86/include/
 * asm/sigframe.h, ucontext.h): all registers of the place that was interrupted, in the kernel's order. */
static enum pulp_unwind_step step_out_of_handler(struct pulp_unwind_state *state, uint64_t pc) {
  enum { CONTEXT = 40, COUNT = REGISTERS };
  static const uint8_t order[COUNT] = {8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, RSP, RA};
  static const uint8_t rt_sigreturn[9] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
  uint64_t values[COUNT];
  uint8_t code[sizeof rt_sigreturn];
  if (pulp_peek(pc + 1, code, sizeof code) != sizeof code || !pulp_equal(code, rt_sigreturn, sizeof code) ||
      !(state->known & 1u << RSP) || pulp_peek(state->registers[RSP] + CONTEXT, values, sizeof values) != sizeof values)
    return PULP_UNWIND_UNKNOWN;
  for (uint32_t index = 0; index < COUNT; index++) state->registers[order[index]] = values[index];
  state->known = (1u << REGISTERS) - 1;
  state->is_interrupted = true;
  return state->registers[RA] ? PULP_UNWIND_STEPPED : PULP_UNWIND_ZERO;
}

/* One frame outwards. `pc` is inside the frame's function: pulp_unwind_place. */
enum pulp_unwind_step pulp_unwind_step(struct pulp_unwind_state *state, uint64_t pc) {
  struct description description;
  struct rules rules, initial;
  struct pulp_unwind_state caller;
  pulp_zero(&rules, sizeof rules);
  pulp_copy(&caller, state, sizeof caller);
  if (!find_description(pc, &description)) return PULP_UNWIND_UNKNOWN;
  if (description.is_signal_frame) return step_out_of_handler(state, pc);
  if (!execute(description.initial, &description, PULP_NEVER, &rules, &rules)) return PULP_UNWIND_UNKNOWN;
  pulp_copy(&initial, &rules, sizeof rules);
  if (!execute(description.body, &description, pc, &rules, &initial)) return PULP_UNWIND_UNKNOWN;
  if (rules.kind[RA] == UNDEFINED) return PULP_UNWIND_ROOT;
  if (rules.cfa_is_strange || rules.cfa_register >= RA || !(state->known & 1u << rules.cfa_register))
    return PULP_UNWIND_UNKNOWN;
  uint64_t cfa = state->registers[rules.cfa_register] + rules.cfa_offset;
  for (uint32_t reg = 0; reg < REGISTERS; reg++) {
    if (rules.kind[reg] == SAME) continue;
    caller.known &= ~(1u << reg);
    if (rules.kind[reg] != AT_OFFSET) continue;
    if (pulp_peek(cfa + rules.offset[reg], &caller.registers[reg], 8) != 8) return PULP_UNWIND_UNKNOWN;
    caller.known |= 1u << reg;
  }
  if (rules.kind[RA] != AT_OFFSET || cfa <= state->registers[RSP]) return PULP_UNWIND_UNKNOWN;
  caller.registers[RSP] = cfa;
  caller.known |= 1u << RSP;
  caller.is_interrupted = false;
  pulp_copy(state, &caller, sizeof caller);
  return state->registers[RA] ? PULP_UNWIND_STEPPED : PULP_UNWIND_ZERO;
}
