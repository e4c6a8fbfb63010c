/* Walking through DWARF with libdw. Both libraries are loaded on demand. */
#include "debug_names.h"

#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdio.h>
#include <string.h>

#define EACH_DW_FUNCTION(X)                                                                                              \
  X(dwarf_begin_elf) X(dwarf_end) X(dwarf_nextcu) X(dwarf_offdie) X(dwarf_child) X(dwarf_siblingof) X(dwarf_tag)         \
  X(dwarf_diename) X(dwarf_attr) X(dwarf_attr_integrate) X(dwarf_formstring) X(dwarf_formudata) X(dwarf_formaddr)        \
  X(dwarf_getlocation) X(dwarf_getlocation_attr)

#define POINTER(name) __typeof__(&name) name;
static struct {
  EACH_DW_FUNCTION(POINTER)
  POINTER(elf_version) POINTER(elf_begin) POINTER(elf_end)
} dw;

static int load(void) {
  static int state; /* 0: not tried; 1: loaded; -1: not to be had */
  if (state)
    return state > 0;
  state = -1;
  void *library = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return 0;
#define RESOLVE(name)                                                                                                    \
  if (!(*(void **)&dw.name = dlsym(library, #name)))                                                                     \
    return 0;
  EACH_DW_FUNCTION(RESOLVE)
  /* libdw needs libelf: its functions are found through libdw's handle. */
  RESOLVE(elf_version) RESOLVE(elf_begin) RESOLVE(elf_end)
  if (dw.elf_version(EV_CURRENT) == EV_NONE)
    return 0;
  state = 1;
  return 1;
}

/* An opened file. Read with pread(2), not mapped: a file that is cut off meanwhile must not raise SIGBUS in us. */
struct debug {
  Elf *elf;
  Dwarf *dwarf;
};

static int open_debug(int fd, struct debug *debug) {
  if (!load())
    return -2;
  debug->elf = dw.elf_begin(fd, ELF_C_READ, NULL);
  debug->dwarf = debug->elf ? dw.dwarf_begin_elf(debug->elf, DWARF_C_READ, NULL) : NULL;
  if (debug->dwarf)
    return 0;
  if (debug->elf)
    dw.elf_end(debug->elf);
  return -1;
}

static void close_debug(struct debug *debug) {
  dw.dwarf_end(debug->dwarf);
  dw.elf_end(debug->elf);
}

static const char *string_of(Dwarf_Die *die, unsigned int attribute) {
  Dwarf_Attribute found;
  const char *text = NULL;
  if (dw.dwarf_attr_integrate(die, attribute, &found))
    text = dw.dwarf_formstring(&found);
  return text;
}

static void copy(char *to, size_t size, const char *text) { snprintf(to, size, "%s", text ? text : ""); }

/* More entries, or a deeper nesting, than this has no honest file. */
enum { NESTING = 64 };
static const long ENTRY_LIMIT = 50 * 1000 * 1000;

struct walk {
  long entries;
  /* Returns whether the children are to be visited. `outer` is the innermost function around. */
  int (*visit)(struct walk *walk, Dwarf_Die *die, int tag, const char *outer);
};

static void walk_children(struct walk *walk, Dwarf_Die *parent, int depth, const char *outer) {
  Dwarf_Die die;
  if (depth > NESTING || dw.dwarf_child(parent, &die) != 0)
    return;
  do {
    if (++walk->entries > ENTRY_LIMIT)
      return;
    int tag = dw.dwarf_tag(&die);
    if (!walk->visit(walk, &die, tag, outer))
      continue;
    const char *inner = tag == DW_TAG_subprogram ? dw.dwarf_diename(&die) : outer;
    walk_children(walk, &die, depth + 1, inner ? inner : outer);
  } while (dw.dwarf_siblingof(&die, &die) == 0);
}

/* Calls `enter` for each compilation unit, and walks through it. */
static void walk_units(Dwarf *dwarf, struct walk *walk, void (*enter)(struct walk *walk, Dwarf_Die *unit)) {
  Dwarf_Off offset = 0, next;
  size_t header;
  while (dw.dwarf_nextcu(dwarf, offset, &next, &header, NULL, NULL, NULL) == 0) {
    Dwarf_Die unit;
    if (dw.dwarf_offdie(dwarf, offset + header, &unit)) {
      enter(walk, &unit);
      walk_children(walk, &unit, 0, NULL);
    }
    if (next <= offset)
      return;
    offset = next;
  }
}

/* Variables -------------------------------------------------------------------------------------------------------- */

struct search {
  struct walk walk;
  const char *name;
  struct ul_variable *found;
  int capacity, count, lost;
  char unit[256];
};

/* The fixed place that a location describes (DWARF 5, 2.6.1.1 and 2.5.1.4). Returns 1, or 0 if it is none. */
static int place_of(Dwarf_Attribute *location, uint64_t *place, int *is_tls) {
  Dwarf_Op *operations;
  size_t count;
  if (dw.dwarf_getlocation(location, &operations, &count) != 0 || count == 0 || count > 2)
    return 0;
  *is_tls = count == 2;
  if (count == 2 && operations[1].atom != DW_OP_form_tls_address && operations[1].atom != DW_OP_GNU_push_tls_address)
    return 0;
  switch (operations[0].atom) {
  case DW_OP_addr:
  case DW_OP_const4u:
  case DW_OP_const8u:
  case DW_OP_constu:
    *place = operations[0].number;
    return operations[0].atom == DW_OP_addr || count == 2;
  case DW_OP_addrx:
  case DW_OP_constx:
  case DW_OP_GNU_addr_index:
  case DW_OP_GNU_const_index: {
    Dwarf_Attribute address;
    Dwarf_Addr value;
    if (dw.dwarf_getlocation_attr(location, &operations[0], &address) != 0)
      return 0;
    if (dw.dwarf_formaddr(&address, &value) != 0 && dw.dwarf_formudata(&address, &value) != 0)
      return 0;
    *place = value;
    return 1;
  }
  default:
    return 0;
  }
}

static int visit_variable(struct walk *walk, Dwarf_Die *die, int tag, const char *outer) {
  struct search *search = (struct search *)walk;
  if (tag != DW_TAG_variable)
    return tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block || tag == DW_TAG_namespace ||
           tag == DW_TAG_inlined_subroutine;
  const char *name = dw.dwarf_diename(die);
  const char *linkage = string_of(die, DW_AT_linkage_name);
  if (!(name && !strcmp(name, search->name)) && !(linkage && !strcmp(linkage, search->name)))
    return 0;
  Dwarf_Attribute location;
  uint64_t place;
  int is_tls;
  if (!dw.dwarf_attr(die, DW_AT_location, &location)) {
    Dwarf_Attribute other;
    /* A declaration and a constant are no variables without place. */
    if (!dw.dwarf_attr(die, DW_AT_declaration, &other) && !dw.dwarf_attr(die, DW_AT_abstract_origin, &other))
      search->lost++;
    return 0;
  }
  /* Parameters and locals have places too: registers and stack slots, which are no fixed ones. */
  if (!place_of(&location, &place, &is_tls))
    return 0;
  for (int i = 0; i < search->count && i < search->capacity; i++)
    if (search->found[i].place == place && search->found[i].is_tls == is_tls)
      return 0;
  if (search->count < search->capacity) {
    struct ul_variable *own = &search->found[search->count];
    own->place = place;
    own->is_tls = is_tls;
    copy(own->unit, sizeof own->unit, search->unit);
    copy(own->function, sizeof own->function, outer);
  }
  search->count++;
  return 0;
}

static void enter_search(struct walk *walk, Dwarf_Die *unit) {
  struct search *search = (struct search *)walk;
  copy(search->unit, sizeof search->unit, dw.dwarf_diename(unit));
}

int ul_debug_variables(int fd, const char *name, struct ul_variable *found, int capacity, int *lost) {
  struct debug debug;
  int failed = open_debug(fd, &debug);
  *lost = 0;
  if (failed)
    return failed;
  struct search search = {.walk = {.visit = visit_variable}, .name = name, .found = found, .capacity = capacity};
  walk_units(debug.dwarf, &search.walk, enter_search);
  close_debug(&debug);
  *lost = search.lost;
  return search.count;
}

/* Functions -------------------------------------------------------------------------------------------------------- */

struct survey {
  struct walk walk;
  void *context;
  void (*unit)(void *context, const char *name, const char *producer);
  void (*function)(void *context, const char *name);
};

static int visit_function(struct walk *walk, Dwarf_Die *die, int tag, const char *outer) {
  struct survey *survey = (struct survey *)walk;
  (void)outer;
  Dwarf_Attribute attribute;
  Dwarf_Word inlining;
  /* DW_INL_inlined and DW_INL_declared_inlined: the code is somewhere else as well (DWARF 5, 3.3.8.1). */
  if (tag == DW_TAG_subprogram && dw.dwarf_attr(die, DW_AT_inline, &attribute) &&
      dw.dwarf_formudata(&attribute, &inlining) == 0 &&
      (inlining == DW_INL_inlined || inlining == DW_INL_declared_inlined)) {
    const char *name = string_of(die, DW_AT_linkage_name);
    if (!name)
      name = dw.dwarf_diename(die);
    if (name)
      survey->function(survey->context, name);
  }
  return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type;
}

static void enter_survey(struct walk *walk, Dwarf_Die *unit) {
  struct survey *survey = (struct survey *)walk;
  const char *name = dw.dwarf_diename(unit), *producer = string_of(unit, DW_AT_producer);
  survey->unit(survey->context, name ? name : "?", producer ? producer : "");
}

int ul_debug_functions(
    int fd, void *context, void (*unit)(void *context, const char *name, const char *producer),
    void (*function)(void *context, const char *name)) {
  struct debug debug;
  int failed = open_debug(fd, &debug);
  if (failed)
    return failed;
  struct survey survey = {.walk = {.visit = visit_function}, .context = context, .unit = unit, .function = function};
  walk_units(debug.dwarf, &survey.walk, enter_survey);
  close_debug(&debug);
  return 0;
}
