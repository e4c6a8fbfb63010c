/* tap.h: one line for each check, and the counts that ./run adds up. */
#ifndef TAP_H
#define TAP_H
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int tap_passed, tap_failed;

__attribute__((format(printf, 2, 3), unused)) static int ok(int condition, const char *format, ...) {
  va_list list;
  va_start(list, format);
  printf("%sok %d - ", condition ? "" : "not ", tap_passed + tap_failed + 1);
  vprintf(format, list);
  printf("\n");
  fflush(stdout);
  va_end(list);
  if (condition) tap_passed++;
  else tap_failed++;
  return condition;
}

/* Equal numbers, or the line says what came instead. */
__attribute__((unused)) static int is(unsigned long long got, unsigned long long expected, const char *name) {
  if (got == expected) return ok(1, "%s", name);
  return ok(0, "%s: got %llu (%#llx), expected %llu (%#llx)", name, got, got, expected, expected);
}

__attribute__((unused)) static int done(void) {
  printf("1..%d\n", tap_passed + tap_failed);
  return tap_failed != 0;
}
#endif
