/* queue_test.c: the rows of writes that SUSE's tool carries out: what is in them, in which order, and that an interpreter
 * which follows the description of the queue arrives where the operation wants to be. The functions are bytes in an array.
 */
#include "../../runtime/runtime.h"
#include "tap.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODE = 4096, FUNCTIONS = 8, PATCHES = 100000 };
static uint8_t code[CODE] __attribute__((aligned(16)));
static struct pulp_patch first_patch, *first;
static uint64_t unreadable; /* an address that cannot be read */

const char pulp_pool_start[64 * PULP_STUB_SIZE], pulp_pool_end[1];
uint64_t pulp_peek(uint64_t address, void *to, uint64_t size) {
  if (unreadable >= address && unreadable < address + size) return 0;
  memcpy(to, (void *)(uintptr_t)address, size);
  return size;
}
struct pulp_patch *pulp_patch_first(void) { return first; }
struct pulp_patch *pulp_patch_next(const struct pulp_patch *patch) { return (void *)(uintptr_t)patch->next; }
bool pulp_patch_in_force(const struct pulp_patch *patch, uint64_t universe) {
  return patch->applied_universe <= universe && (!patch->reverted_universe || patch->reverted_universe > universe);
}

static uint64_t entry_of(int index) { return (uintptr_t)code + 14 + 64 * (uint64_t)index; }
static uint64_t stub_of(int slot) { return (uintptr_t)pulp_pool_start + (uint64_t)slot * PULP_STUB_SIZE; }

/* 0: two nops, 1: merged, 2: endbr64 and two nops, 3: endbr64 and merged */
static void make_function(int index, int form) {
  uint8_t *entry = (uint8_t *)(uintptr_t)entry_of(index);
  memset(entry - 14, 0x90, 14);
  memset(entry, 0xcc, 40);
  if (form & 2) memcpy(entry, "\xf3\x0f\x1e\xfa", 4);
  memcpy(entry + (form & 2 ? 4 : 0), form & 1 ? "\x66\x90" : "\x90\x90", 2);
}

static void add_transition(int index, uint32_t point_offset, uint32_t slot, uint64_t new_target) {
  pulp_transitions[pulp_operation.transition_count++] = (struct pulp_transition){.entry = entry_of(index),
    .new_target = new_target, .slot = slot, .point_offset = point_offset};
}

static void begin(uint64_t universe) {
  memset(&pulp_operation, 0, sizeof pulp_operation);
  pulp_operation.universe = universe;
  pulp_queue_reset();
}

struct write {
  uint64_t address;
  uint32_t size;
  const uint8_t *bytes;
} writes[1024];
static int write_count;

/* As the description says: header {opcode | size << 8}, number of bytes, address, bytes; rounded up to 8. */
static bool interpret(bool executes) {
  const struct pulp_insn_queue *queue = &__ulp_insn_queue;
  uint32_t at = 0;
  write_count = 0;
  for (uint32_t index = 0; index < queue->num_insns; index++) {
    uint32_t header, size;
    struct write *write = &writes[write_count++ % 1024];
    if (at + 16 > queue->size) return false;
    memcpy(&header, queue->buffer + at, 4);
    memcpy(&size, queue->buffer + at + 4, 4);
    if ((header & 0xff) != 2 || header >> 8 != ((16 + size + 7) & ~7u)) return false;
    memcpy(&write->address, queue->buffer + at + 8, 8);
    write->size = size, write->bytes = queue->buffer + at + 16;
    if (executes) memcpy((void *)(uintptr_t)write->address, write->bytes, size);
    at += header >> 8;
  }
  return at == queue->size;
}

static bool is_write(int index, uint64_t address, const void *bytes, uint32_t size) {
  return index < write_count && writes[index].address == address && writes[index].size == size &&
         !memcmp(writes[index].bytes, bytes, size);
}

static void padding_of(uint64_t target, uint8_t *ret) {
  memcpy(ret, "\xff\x25\0\0\0\0", 6);
  memcpy(ret + 6, &target, 8);
}

/* One function: padding, point, list, universe, in SUSE's bytes. */
static void one_function(void) {
  uint8_t padding[14];
  uint64_t record = (uintptr_t)&first_patch, universe = 2;
  make_function(0, 1);
  begin(2);
  first = &first_patch;
  first_patch = (struct pulp_patch){.applied_universe = 2};
  __ulp_state.patches = 0;
  add_transition(0, 0, 3, 4711);
  ok(pulp_queue_operation(0), "one function");
  ok(interpret(false) && write_count == 4, "four writes: %d", write_count);
  padding_of(stub_of(3), padding);
  ok(is_write(0, entry_of(0) - 14, padding, 14), "the padding leads to the stub");
  ok(is_write(1, entry_of(0), "\xeb\xf0", 2), "the entry leads to the padding");
  ok(is_write(2, (uintptr_t)&__ulp_state.patches, &record, 8), "the list begins with the patch");
  ok(is_write(3, (uintptr_t)&pulp_universe, &universe, 8), "the universe is the last");
  ok(!memcmp(__ulp_insn_queue.buffer, "\x02\x20\0\0\x0e\0\0\0", 8), "a write of 14 bytes takes 32");
  ok(!memcmp(__ulp_insn_queue.buffer + 32, "\x02\x18\0\0\x02\0\0\0", 8), "one of 2 bytes takes 24");
  is(__ulp_insn_queue.version, 1, "version");
  ok(interpret(true) && pulp_universe == 2 && __ulp_state.patches == record, "carried out");
}

/* All paddings before any entry; what is armed already gets another address and nothing else. */
static void many_functions(void) {
  uint64_t stub;
  for (int index = 0; index < FUNCTIONS; index++) make_function(index, index % 4);
  begin(3);
  for (int index = 0; index < FUNCTIONS; index++) add_transition(index, index % 4 & 2 ? 4 : 0, (uint32_t)index, 1);
  ok(pulp_queue_operation(0) && interpret(true), "eight functions of four forms");
  bool first_half = true, second_half = true;
  for (int index = 0; index < FUNCTIONS; index++) {
    uint32_t offset = index % 4 & 2 ? 4 : 0;
    first_half &= writes[index].size == 14 && writes[index].address == entry_of(index) - 14;
    second_half &= is_write(FUNCTIONS + index, entry_of(index) + offset, offset ? "\xeb\xec" : "\xeb\xf0", 2);
  }
  ok(first_half, "first all paddings");
  ok(second_half, "then all entries");
  bool all = true;
  for (int index = 0; index < FUNCTIONS; index++) all &= pulp_entry_leads_to(entry_of(index), (uint32_t)index);
  ok(all, "every function leads through its slot");
  begin(4);
  for (int index = 0; index < FUNCTIONS; index++) add_transition(index, index % 4 & 2 ? 4 : 0, 20u + (uint32_t)index, 1);
  stub = stub_of(20);
  ok(pulp_queue_operation(0) && interpret(true), "the same again");
  ok(is_write(0, entry_of(0) - 8, &stub, 8) && writes[FUNCTIONS - 1].size == 8, "one address each");
  is((unsigned long long)write_count, FUNCTIONS + 1, "and the universe");
}

/* What an earlier operation left leading through its slots jumps directly from now on, or not at all. */
static void carried(void) {
  uint64_t direct = 123456789, original = entry_of(1) + 2;
  make_function(0, 1), make_function(1, 1), make_function(2, 1), make_function(3, 1);
  begin(5);
  for (int index = 0; index < 4; index++) add_transition(index, 0, 30u + (uint32_t)index, 1);
  ok(pulp_queue_operation(0) && interpret(true), "four functions through slots");
  begin(6);
  add_transition(0, 0, 30, direct), add_transition(1, 0, 31, original), add_transition(2, 0, 32, direct);
  add_transition(3, 0, 99, direct); /* another slot than the function leads through */
  add_transition(2, 0, 40, 1);
  ok(pulp_queue_operation(4) && interpret(true), "four carried, one of them touched again");
  ok(is_write(0, entry_of(0) - 8, &direct, 8), "a direct jump");
  ok(is_write(1, entry_of(1), "\x66\x90", 2), "the original");
  ok(pulp_entry_leads_to(entry_of(2), 40), "the new slot of the one that is touched again");
  ok(pulp_entry_leads_to(entry_of(3), 33), "what does not lead through the slot is left alone");
  is((unsigned long long)write_count, 4, "writes");
}

static void forms(void) {
  struct pulp_entry_form form;
  for (int kind = 0; kind < 4; kind++) {
    make_function(0, kind);
    ok(pulp_entry_read(entry_of(0), &form) && !form.is_armed && form.has_two_nops == !(kind & 1) &&
       form.point_offset == (kind & 2 ? 4u : 0u), "form %d is prepared", kind);
  }
  make_function(0, 0);
  ((uint8_t *)(uintptr_t)entry_of(0))[-5] = 0xc3;
  ok(!pulp_entry_read(entry_of(0), &form), "another function's code in the padding: not prepared");
  make_function(0, 0);
  memcpy((void *)(uintptr_t)entry_of(0), "\x55\x48", 2);
  ok(!pulp_entry_read(entry_of(0), &form), "no nops at the entry: not prepared");
  memcpy((void *)(uintptr_t)entry_of(0), "\xeb\x10", 2);
  ok(!pulp_entry_read(entry_of(0), &form), "a short jump of its own: not prepared");
  make_function(0, 1);
  unreadable = entry_of(0) - 14;
  ok(!pulp_entry_read(entry_of(0), &form), "unreadable: not prepared");
  begin(7);
  add_transition(0, 0, 1, 1), add_transition(1, 0, 2, 1);
  ok(pulp_queue_operation(0) && interpret(false), "a library that has gone is left out");
  for (int index = 0; index < write_count; index++)
    if (writes[index].address >= entry_of(0) - 14 && writes[index].address < entry_of(0) + 8) ok(0, "nothing is written there");
  unreadable = 0;
}

/* 90 90 becomes 66 90 by one byte, and nothing else happens. */
static void prepare(void) {
  struct pulp_suse_unit units[] = {{entry_of(0), 0, true}, {entry_of(1), 0, false}, {entry_of(2), 4, true}};
  make_function(0, 0), make_function(1, 1), make_function(2, 2);
  begin(8);
  pulp_queue_prepare(units, 3);
  ok(interpret(true) && write_count == 2, "two of three have two nops");
  ok(is_write(0, entry_of(0), "\x66", 1) && is_write(1, entry_of(2) + 4, "\x66", 1), "one byte each");
  ok(!memcmp((void *)(uintptr_t)entry_of(0), "\x66\x90", 2), "a nop of two bytes");
}

/* The last function of a mapping: that tool reads a word where it writes a part of one. */
static void at_the_end(void) {
  static uint8_t pages[2 * 4096] __attribute__((aligned(4096)));
  uint8_t *entry = pages + 4096 - 6, expected[8] = {0, 0, 0, 0, 0, 0, 0xeb, 0xf0};
  uint64_t stub = stub_of(5);
  struct pulp_suse_unit unit = {(uintptr_t)entry, 0, true};
  first = NULL;
  memset(entry - 14, 0x90, 14);
  memcpy(entry, "\x66\x90\xc3\xcc\xcc\xcc", 6);
  unreadable = (uintptr_t)entry + 6;
  begin(10);
  pulp_transitions[pulp_operation.transition_count++] = (struct pulp_transition){.entry = (uintptr_t)entry, .slot = 5};
  ok(pulp_queue_operation(0) && interpret(true), "the last function of a mapping");
  memcpy(expected, (uint8_t *)&stub + 2, 6);
  ok(is_write(1, (uintptr_t)entry - 6, expected, 8), "a word that ends behind the entry, with the end of the padding");
  ok(!memcmp(entry, "\xeb\xf0\xc3", 3) && !memcmp(entry - 8, &stub, 8), "carried out");
  memcpy(entry, "\x90\x90", 2);
  begin(11);
  pulp_queue_prepare(&unit, 1);
  ok(interpret(true) && writes[0].size == 8 && !memcmp(entry, "\x66\x90\xc3", 3), "the nops are merged there as well");
  unreadable = 0;
}

/* The list is rewritten where it differs; too many writes are refused, and the queue stays within its size. */
static void lists(void) {
  static struct pulp_patch patches[PATCHES];
  begin(9);
  for (int index = 0; index < PATCHES; index++)
    patches[index] = (struct pulp_patch){.applied_universe = 1, .next = index + 1 < 3 ? (uintptr_t)&patches[index + 1] : 0};
  first = patches;
  patches[1].reverted_universe = 9;
  patches[0].record.next = (uintptr_t)&patches[1], patches[1].record.next = (uintptr_t)&patches[2];
  __ulp_state.patches = (uintptr_t)patches;
  uint64_t third = (uintptr_t)&patches[2];
  ok(pulp_queue_operation(0) && interpret(false) && write_count == 2, "one pointer differs");
  ok(is_write(0, (uintptr_t)&patches[0].record.next, &third, 8), "it leads over the reverted one");
  begin(9);
  patches[1].reverted_universe = 0;
  for (int index = 0; index + 1 < PATCHES; index++) patches[index].next = (uintptr_t)&patches[index + 1];
  for (int index = 0; index < PATCHES; index++) patches[index].record.next = 0;
  ok(!pulp_queue_operation(0), "a list that does not fit is refused: the caller answers 285");
  ok(__ulp_insn_queue.size <= PULP_INSN_BUFFER_SIZE, "the queue keeps its size: %u", __ulp_insn_queue.size);
  pulp_queue_reset();
  is(__ulp_insn_queue.size + __ulp_insn_queue.num_insns, 0, "and is empty again");
}

int main(void) {
  one_function();
  many_functions();
  carried();
  forms();
  prepare();
  at_the_end();
  lists();
  return done();
}
