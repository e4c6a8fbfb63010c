/* probe.h: is the processor state of a thread untouched? See probe.S. */
#ifndef PROBE_H
#define PROBE_H
#include <stdint.h>
#include <string.h>

struct probe_area {
  uint64_t sp, pad0[7];
  uint8_t zmm[32][64];
  uint64_t k[8];
  uint32_t mxcsr, pad1[15];
  uint64_t gpr_out[16];
  uint8_t no_carry, pad2[7];
  uint64_t sp_out, red_zone_out[16];
  uint64_t pad3[6];
  uint8_t zmm_out[32][64];
  uint64_t k_out[8];
  uint32_t mxcsr_out, pad4;
  uint8_t st_out[2][16];
} __attribute__((aligned(64)));
_Static_assert(__builtin_offsetof(struct probe_area, gpr_out) == 2240, "probe.S");
_Static_assert(__builtin_offsetof(struct probe_area, zmm_out) == 2560, "probe.S");
_Static_assert(__builtin_offsetof(struct probe_area, st_out) == 4680, "probe.S");

void probe(uint64_t spins, struct probe_area *area);
void clobber(void);

enum { BAD_GENERAL = 1, BAD_VECTOR = 2, BAD_MASK = 4, BAD_MXCSR = 8, BAD_RED_ZONE = 16, BAD_X87 = 32, BAD_FLAGS = 64, BAD_SP = 128 };

static inline unsigned probe_once(uint64_t spins, struct probe_area *area, unsigned seed) {
  static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
  static const uint8_t one[10] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f};
  unsigned bad = 0;
  memset(area->gpr_out, 0, sizeof *area - __builtin_offsetof(struct probe_area, gpr_out));
  for (unsigned i = 0; i < sizeof area->zmm; i++) area->zmm[i / 64][i % 64] = (uint8_t)(seed + i * 7 + i / 64);
  for (unsigned i = 0; i < 8; i++) area->k[i] = (seed + i) * 0x0101010101010101ull;
  area->mxcsr = 0x5f80; /* rounds up */
  probe(spins, area);
  if (area->gpr_out[0] != 0x111111111111110dull) bad |= BAD_GENERAL;
  for (unsigned i = 1; i < 14; i++)
    if (area->gpr_out[i] != 0x1111111111111100ull + i + (i == 2 ? spins : 0)) bad |= BAD_GENERAL;
  for (unsigned i = 0; i < 16; i++)
    if (area->red_zone_out[i] != 0x5ed20e0000000001ull + i) bad |= BAD_RED_ZONE;
  if (memcmp(area->zmm, area->zmm_out, sizeof area->zmm)) bad |= BAD_VECTOR;
  if (memcmp(area->k + 1, area->k_out + 1, 56)) bad |= BAD_MASK;
  if (area->mxcsr_out != area->mxcsr) bad |= BAD_MXCSR;
  if (memcmp(area->st_out[0], one, 10) || memcmp(area->st_out[1], pi, 10)) bad |= BAD_X87;
  if (area->no_carry) bad |= BAD_FLAGS;
  if (area->sp != area->sp_out) bad |= BAD_SP;
  return bad;
}
#endif
