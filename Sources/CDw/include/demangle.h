/* Names of C++ as people write them. */
#pragma once

/* The readable form of a mangled name, to be freed. NULL for any other name, for one that could become longer than 64 MiB, and
 * without the C++ library. */
char *_Nullable ul_demangle(const char *_Nonnull name);
