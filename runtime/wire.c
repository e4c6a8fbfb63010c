/* wire.c: container metadata as SUSE's tool sends it (libpulp container format, "wire form"). Pure reading of bytes that
 * somebody else wrote: nothing beyond the given size is touched, strings are what their length and their first NUL leave.
 *
 *   type, patch id, container path, target's build ID, target's name; in type 1 also
 *   units {old name, new name, old address}, dependencies {patch id}, references {two names, two offsets, tls}
 */
#include "runtime.h"

PULP_RARE_CODE

enum { APPLY = 1, REVERT = 2 };

static uint64_t left(const struct pulp_wire_reader *reader) { return (uint64_t)(reader->end - reader->at); }

static bool take(struct pulp_wire_reader *reader, void *to, uint64_t size) {
  if (left(reader) < size) return false;
  pulp_copy(to, reader->at, size);
  reader->at += size;
  return true;
}

/* A length, then that many bytes. `ret` lies in the buffer and need not end with a NUL. */
static bool take_bytes(struct pulp_wire_reader *reader, struct pulp_wire_string *ret) {
  uint32_t size;
  if (!take(reader, &size, 4) || left(reader) < size) return false;
  ret->data = (const char *)reader->at;
  ret->size = 0;
  while (ret->size < size && ret->data[ret->size]) ret->size++;
  reader->at += size;
  return true;
}

static bool take_name(struct pulp_wire_reader *reader, struct pulp_wire_string *ret) {
  return take_bytes(reader, ret) && ret->size;
}

bool pulp_wire_unit(struct pulp_wire_reader *reader, struct pulp_wire_unit *ret) {
  return take_name(reader, &ret->old_name) && take_name(reader, &ret->new_name) && take(reader, &ret->address, 8);
}

bool pulp_wire_reference(struct pulp_wire_reader *reader, struct pulp_wire_reference *ret) {
  return take_name(reader, &ret->target_name) && take_name(reader, &ret->name) && take(reader, &ret->target_offset, 8) &&
         take(reader, &ret->patch_offset, 8) && take(reader, &ret->tls, 1) && ret->tls <= 1;
}

/* Counts are believed only after all of their elements were found. */
static uint64_t parse_body(struct pulp_wire *wire, struct pulp_wire_reader *reader) {
  struct pulp_wire_unit unit;
  struct pulp_wire_reference reference;
  if (!take(reader, &wire->unit_count, 4)) return PULP_EINVALIDULP;
  wire->units = *reader;
  for (uint32_t index = 0; index < wire->unit_count; index++) {
    if (!pulp_wire_unit(reader, &unit)) return PULP_EINVALIDULP;
    wire->text_size += unit.old_name.size + unit.new_name.size + 2;
  }
  if (!take(reader, &wire->dependency_count, 4) || left(reader) / 32 < wire->dependency_count) return PULP_EINVALIDULP;
  wire->dependencies = reader->at;
  reader->at += wire->dependency_count * 32ull;
  if (!take(reader, &wire->reference_count, 4)) return PULP_EINVALIDULP;
  wire->references = *reader;
  for (uint32_t index = 0; index < wire->reference_count; index++) {
    if (!pulp_wire_reference(reader, &reference)) return PULP_EINVALIDULP;
    wire->text_size += reference.name.size + 1;
  }
  return PULP_OK;
}

uint64_t pulp_wire_parse(const uint8_t *bytes, uint32_t size, struct pulp_wire *wire) {
  struct pulp_wire_reader reader = {.at = bytes, .end = bytes + size};
  struct pulp_wire_string build_id;
  uint32_t build_id_size;
  pulp_zero(wire, sizeof *wire);
  if (!take(&reader, &wire->type, 1)) return PULP_EINVALIDULP;
  if (!wire->type) return PULP_ENOMETA;
  if (wire->type != APPLY && wire->type != REVERT) return PULP_EUNKNOWN;
  wire->is_revert = wire->type == REVERT;
  wire->id = reader.at;
  if (left(&reader) < 32) return PULP_EINVALIDULP;
  reader.at += 32;
  if (!take_name(&reader, &wire->path)) return PULP_EINVALIDULP;
  const uint8_t *length = reader.at;
  if (!take_bytes(&reader, &build_id)) return PULP_EINVALIDULP;
  pulp_copy(&build_id_size, length, 4);
  if (build_id_size > PULP_BUILD_ID_MAX) return PULP_EINVALIDULP;
  wire->build_id = length + 4;
  wire->build_id_size = build_id_size;
  if (!take_name(&reader, &wire->target)) return PULP_EINVALIDULP;
  wire->text_size = wire->path.size + wire->target.size + 2;
  return wire->is_revert ? PULP_OK : parse_body(wire, &reader);
}
