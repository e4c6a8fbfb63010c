/* ulp.h: what a live patch replaces, written into its own source.
 *
 * ulp.cc (and `ulpsh cc`) reads these notes from the compiled object and writes them into the description. They are in a
 * section that linkers leave out, so nothing of them is in the finished container. Compilers that know nothing of ulpsh
 * compile the file all the same.
 *
 * A name is a symbol as the linker knows it, static functions and variables included, or a C++ name as a demangler shows
 * it; parameters can be left out where the rest is unambiguous. Put names with commas into double quotes. */
#ifndef ULP_H
#define ULP_H

/* The function `old` of the target is replaced by this file's `new_one`, which must not be static. */
#define ULP_REPLACE(old, new_one) ULP_NOTE_("=", #old, #new_one)

/* This file's pointer gets the address of the target's variable before the patch is in force:
 *
 *     int *total_ref;
 *     ULP_REFERENCE(total, total_ref);
 */
#define ULP_REFERENCE(variable, pointer) ULP_NOTE_("#", #variable, #pointer)

/* The same for a thread-local variable; `pointer` is a structure of two unsigned longs, as __tls_get_addr takes it. */
#define ULP_TLS_REFERENCE(variable, pointer) ULP_NOTE_("%", #variable, #pointer)

/* A line that is kept in the container and shown by `ulpsh dump`. */
#define ULP_COMMENT(text) ULP_NOTE_("!", text, "")

/* One note: kind, first part, line feed, second part, NUL. Written by assembler, for it is the only thing that all compilers
 * put into a section that is neither loaded ("a") nor linked ("e"). */
#define ULP_NOTE_(kind, first, second) ULP_NOTE_TEXT_(kind, first, second)
#define ULP_NOTE_TEXT_(kind, first, second) \
  __asm__(".pushsection .ulp.units,\"e\",@progbits\n\t.ascii " #kind ", " #first ", \"\\n\", " #second ", \"\\0\"\n\t.popsection")

#endif
