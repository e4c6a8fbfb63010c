/* Names of C++ as people write them. */
#pragma once

/* The readable form of a mangled name, to be freed. NULL for any other name, and without the C++ library. */
char *_Nullable ul_demangle(const char *_Nonnull name);
