/* What DWARF says of variables and functions that no symbol table names, or does not tell enough about. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A variable with a fixed place. */
struct ul_variable {
  uint64_t place; /* link address, or offset in the TLS block */
  int is_tls;
  char unit[256];     /* source file */
  char function[128]; /* of a function's static variable; else empty */
};

/* Looks for variables called `name` in the debug information of the file. At most `capacity` are stored.
 * Returns how many there are (two at one place count once), -1 if there is no debug information, -2 without libdw.
 * `*lost` counts those that the compiler left without a place. */
int ul_debug_variables(
    int fd, const char *_Nonnull name, struct ul_variable *_Nonnull found, int capacity, int *_Nonnull lost);

/* Visits what concerns patching: `unit` for each compilation unit with its producer, `function` for each function that was
 * inlined somewhere (its linkage name where it has one). Returns 0, or as above. */
int ul_debug_functions(
    int fd, void *_Nullable context,
    void (*_Nonnull unit)(void *_Nullable context, const char *_Nonnull name, const char *_Nonnull producer),
    void (*_Nonnull function)(void *_Nullable context, const char *_Nonnull name));
