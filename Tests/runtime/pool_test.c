/* pool_test.c: the bytes of every stub, which version it selects, and what it leaves alone. */
#include "request.h"
#include "tap.h"

struct pool_area {
  uint8_t ymm[16][32];
  uint64_t which, gpr[14], sp_difference, flags, pad[3];
  uint8_t ymm_out[16][32];
} __attribute__((aligned(32)));
_Static_assert(offsetof(struct pool_area, ymm_out) == 672, "pool_probe.S");

void pool_probe(void *stub, struct pool_area *area);
extern char pool_old[], pool_new[];
static struct pool_area area;

static uint64_t *pin(void) {
  uint64_t base;
  __asm__("mov %%fs:0, %0" : "=r"(base));
  return AT(base + ext->pin_offset);
}

static uint64_t relative(const uint8_t *field) { return (uintptr_t)field + 4 + *(const int32_t *)field; }

/* Fixed bytes; the four displacements are checked apart. */
static bool stub_right(const uint8_t *stub, const struct pulp_slot *slot, uint64_t *got) {
  return !memcmp(stub, "\xf3\x0f\x1e\xfa\x4c\x8b\x1d", 7) && !memcmp(stub + 11, "\x64\x4d\x8b\x1b\x4d\x85\xdb\x4c\x0f\x44\x1d", 11) &&
         relative(stub + 22) == ext->universe && !memcmp(stub + 26, "\x4c\x3b\x1d", 3) &&
         relative(stub + 29) == (uintptr_t)&slot->since && !memcmp(stub + 33, "\x72\x06\xff\x25", 4) &&
         relative(stub + 37) == (uintptr_t)&slot->new_target && !memcmp(stub + 41, "\xff\x25", 2) &&
         relative(stub + 43) == (uintptr_t)&slot->old_target && stub[47] == 0xcc &&
         (!*got || *got == relative(stub + 7)) && (*got = relative(stub + 7));
}

static bool untouched(void) {
  bool right = area.gpr[0] == 0x222222222222220dull && !area.sp_difference && area.flags & 0x400;
  for (uint64_t i = 1; i < 14; i++) right &= area.gpr[i] == 0x2222222222222200ull + i;
  return right && !memcmp(area.ymm, area.ymm_out, sizeof area.ymm);
}

static int reach(uint32_t stub) {
  memset(&area.which, 0, sizeof area - offsetof(struct pool_area, which));
  pool_probe(AT(ext->pool_start + stub * PULP_STUB_SIZE), &area);
  return untouched() ? (int)area.which : -1;
}

int main(void) {
  find_runtime();
  is(ext->pool_end - ext->pool_start, (uint64_t)PULP_POOL_COUNT * PULP_STUB_SIZE, "size of the pool");
  uint32_t wrong = 0;
  uint64_t got = 0;
  for (uint32_t i = 0; i < PULP_POOL_COUNT; i++) wrong += !stub_right(AT(ext->pool_start + i * PULP_STUB_SIZE), &slots[i], &got);
  is(wrong, 0, "bytes of all stubs");
  is(*(uint64_t *)AT(got), ext->pin_offset, "they read the pin at pin_offset");
  for (unsigned i = 0; i < sizeof area.ymm; i++) area.ymm[i / 32][i % 32] = (uint8_t)(i * 11 + 3);
  static const uint32_t chosen[] = {0, 1, 4095, PULP_POOL_COUNT - 1};
  for (int i = 0; i < 4; i++) {
    uint32_t stub = chosen[i];
    slots[stub] = (struct pulp_slot){.since = 8, .new_target = (uintptr_t)pool_new, .old_target = (uintptr_t)pool_old};
    *universe = 7;
    is(reach(stub), 1, "before its universe: old; all registers but r11 as they were");
    *universe = 8;
    is(reach(stub), 2, "from its universe on: new");
    *universe = 1ull << 63;
    is(reach(stub), 2, "universes are unsigned");
    slots[stub].since = UINT64_MAX;
    is(reach(stub), 1, "reserved: old");
    slots[stub].since = 8;
    *pin() = 7;
    is(reach(stub), 1, "a thread pinned before: old");
    *pin() = 8, *universe = 7;
    is(reach(stub), 2, "a thread pinned after: new, whatever the universe");
    *pin() = 0;
    slots[stub] = (struct pulp_slot){0};
    *universe = 1;
  }
  return done();
}
