/* torture.c: the target or, with -DVERSION=N, a container of the torture test. Built several times: with different
 * paddings, with and without endbr64. Each function checks all its arguments and answers with its number and version.
 */
#include <stdarg.h>
#ifndef VERSION
#define VERSION 0
#define NAME(n) torture##n
#else
#define NAME(n) torture##n##_v
#endif
#define FULL(n) \
  long NAME(n)(long a, long b, long c, long d, long e, long f, long g, long h, double x, double y) { \
    if (b != a + 1 || c != a + 2 || d != a + 3 || e != a + 4 || f != a + 5 || g != a + 6 || h != a + 7 || x != a + 0.5 || y != a + 1.5) \
      return -1; \
    return n * 1000 + VERSION; \
  }
#define VARIADIC(n) \
  long NAME(n)(long a, ...) { \
    va_list list; \
    long bad = 0; \
    va_start(list, a); \
    for (int i = 1; i < 8; i++) bad |= va_arg(list, long) != a + i; \
    bad |= va_arg(list, double) != a + 0.5; \
    bad |= va_arg(list, double) != a + 1.5; \
    va_end(list); \
    return bad ? -1 : n * 1000 + VERSION; \
  }
FULL(0) FULL(1) FULL(2) FULL(3) FULL(4) FULL(5) FULL(6) FULL(7) FULL(8) FULL(9)
VARIADIC(10) VARIADIC(11) VARIADIC(12) VARIADIC(13) VARIADIC(14) VARIADIC(15)
