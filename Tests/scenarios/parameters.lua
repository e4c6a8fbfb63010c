-- timeout: 120
-- Parameters and results of every class reach the new function as they reached the old one: integers, floating point, many,
-- on the stack, structures by value, variadic lists, __int128, long double and vectors.
local t = require "ulp.scenario"

local types = [[
  #include <complex.h>
  #include <immintrin.h>
  #include <stdarg.h>
  #include <stdio.h>
  #include <string.h>
  struct small { int a; short b; char c; };
  struct mixed { long a; double b; };
  struct doubles { double a, b; };
  struct floats { float a, b, c; };
  struct pair { long a, b; };
  struct big { long a[5]; double b; };
  struct empty_tail { long double a; int b; };
  union either { double d; long l; };
  typedef int four __attribute__((vector_size(16)));
]]

-- Both versions come from one text: each function tells its version and whether all that came in is what was sent.
local functions = types .. [[
  #define V(condition) return (condition) ? VERSION : -VERSION
  int NAME(integers)(char a, short b, int c, long d, unsigned char e, unsigned long f) {
    V(a == -1 && b == -2 && c == -3 && d == -4000000000000 && e == 250 && f == ~5ul);
  }
  int NAME(floating)(float a, double b, float c, double d, double e, double f, double g, double h) {
    V(a == 1.5f && b == 2.25 && c == -3.5f && d == 4e300 && e == 5 && f == 6 && g == 7 && h == -8.125);
  }
  int NAME(many)(int a, double b, long c, float d, short e, double f, char g, double h, long i, double j, int k, double l,
                 long m, double n, int o, double p, long q, double r, int s, double t, char u) {
    V(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 && g == 7 && h == 8 && i == 9 && j == 10 &&
      k == 11 && l == 12 && m == 13 && n == 14 && o == 15 && p == 16 && q == 17 && r == 18 && s == 19 && t == 20 && u == 21);
  }
  int NAME(on_stack)(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j) {
    V(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 && g == 7 && h == 8 && i == 9 && j == 10);
  }
  int NAME(structures)(struct small s, struct mixed m, struct doubles d, struct floats f, struct pair p, struct big b,
                       struct empty_tail t, union either u) {
    V(s.a == 1 && s.b == 2 && s.c == 3 && m.a == 4 && m.b == 5.5 && d.a == 6.5 && d.b == 7.5 && f.a == 8 && f.b == 9 &&
      f.c == 10 && p.a == 11 && p.b == 12 && b.a[0] == 13 && b.a[4] == 17 && b.b == 18.5 && t.a == 19.25L &&
      t.b == 20 && u.d == 21.5);
  }
  /* One register is left for the pair: all of it goes on the stack. */
  int NAME(split)(long a, long b, long c, long d, long e, struct pair p, long f) {
    V(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && p.a == 6 && p.b == 7 && f == 8);
  }
  int NAME(variadic)(const char *kinds, ...) { /* %al tells how many vector registers are used */
    va_list list;
    int right = 1, i = 1;
    va_start(list, kinds);
    for (; *kinds; kinds++, i++)
      right &= *kinds == 'd' ? va_arg(list, double) == i + 0.5 : *kinds == 'L' ? va_arg(list, long double) == i + 0.25L
        : *kinds == 'p' ? va_arg(list, struct pair).b == i : *kinds == 'b' ? va_arg(list, struct big).b == i
        : va_arg(list, long) == i;
    va_end(list);
    V(right);
  }
  int NAME(wide)(__int128 a, long double b, long c, __int128 d, complex double e, complex float f, complex long double g) {
    V((long)(a >> 64) == 1 && (long)a == 2 && b == 3.125L && c == 4 && (long)(d >> 64) == -5 && (long)d == 6 &&
      e == 7 + 8 * I && f == 9 + 10 * I && g == 11 + 12 * I);
  }
  int NAME(vectors)(four a, __m128d b, four c) { V(a[0] == 1 && a[3] == 4 && b[0] == 5 && b[1] == 6 && c[2] == 7); }

  /* Results: registers of each kind, and memory that the caller names in %rdi. */
  long NAME(gives_long)(long a) { return a + VERSION; }
  double NAME(gives_double)(double a) { return a + VERSION; }
  float NAME(gives_float)(float a) { return a + VERSION; }
  long double NAME(gives_long_double)(long double a) { return a + VERSION; }
  complex long double NAME(gives_complex)(complex long double a) { return a + VERSION; }
  __int128 NAME(gives_int128)(__int128 a) { return a + VERSION; }
  struct mixed NAME(gives_mixed)(struct mixed a) { return (struct mixed){a.a + VERSION, a.b - VERSION}; }
  struct doubles NAME(gives_doubles)(struct doubles a) { return (struct doubles){a.a + VERSION, a.b - VERSION}; }
  struct big NAME(gives_big)(struct big a) { a.a[4] += VERSION; a.b -= VERSION; return a; }
  four NAME(gives_vector)(four a) { return a + VERSION; }
]]
local names = {
  "integers", "floating", "many", "on_stack", "structures", "split", "variadic", "wide", "vectors", "gives_long", "gives_double",
  "gives_float", "gives_long_double", "gives_complex", "gives_int128", "gives_mixed", "gives_doubles", "gives_big",
  "gives_vector",
}
local function version(number, name) return ("#define VERSION %d\n#define NAME(x) %s\n"):format(number, name) .. functions end

local library = t.cc {kind = "library", as = "libparameters", code = version(1, "x"), flags = {"-Wall", "-Wextra", "-Werror"}}
local units = {}
for _, name in ipairs(names) do units[name] = name .. "_2" end
local fix = t.cc {as = "parameters.so", target = library, code = version(2, "x##_2"), units = units}

local program = t.cc {kind = "program", as = "parameters", libraries = {library}, code = types .. [[
  int integers(char, short, int, long, unsigned char, unsigned long);
  int floating(float, double, float, double, double, double, double, double);
  int many(int, double, long, float, short, double, char, double, long, double, int, double, long, double, int, double, long,
           double, int, double, char);
  int on_stack(long, long, long, long, long, long, long, long, long, long);
  int structures(struct small, struct mixed, struct doubles, struct floats, struct pair, struct big, struct empty_tail,
                 union either);
  int split(long, long, long, long, long, struct pair, long);
  int variadic(const char *, ...);
  int wide(__int128, long double, long, __int128, complex double, complex float, complex long double);
  int vectors(four, __m128d, four);
  long gives_long(long);
  double gives_double(double);
  float gives_float(float);
  long double gives_long_double(long double);
  complex long double gives_complex(complex long double);
  __int128 gives_int128(__int128);
  struct mixed gives_mixed(struct mixed);
  struct doubles gives_doubles(struct doubles);
  struct big gives_big(struct big);
  four gives_vector(four);

  static void tell(const char *name, long version) { printf("%s=%ld ", name, version); }
  #define TELL(f, ...) tell(#f, f(__VA_ARGS__))
  int main(void) {
    char line[80];
    struct big big = {{13, 14, 15, 16, 17}, 18.5}, third = {{0}, 3}, made;
    struct mixed mixed;
    struct doubles doubles;
    struct pair fourth = {0, 4};
    complex long double c;
    __int128 i;
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) {
      TELL(integers, -1, -2, -3, -4000000000000, 250, ~5ul);
      TELL(floating, 1.5f, 2.25, -3.5f, 4e300, 5, 6, 7, -8.125);
      TELL(many, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21);
      TELL(on_stack, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
      TELL(structures, (struct small){1, 2, 3}, (struct mixed){4, 5.5}, (struct doubles){6.5, 7.5}, (struct floats){8, 9, 10},
        (struct pair){11, 12}, big, (struct empty_tail){19.25L, 20}, (union either){21.5});
      TELL(split, 1, 2, 3, 4, 5, (struct pair){6, 7}, 8);
      TELL(variadic, "ldbpLldddddddddlllll", 1l, 2.5, third, fourth, 5.25L, 6l, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5, 13.5, 14.5, 15.5,
        16l, 17l, 18l, 19l, 20l);
      TELL(wide, ((__int128)1 << 64) + 2, 3.125L, 4, ((__int128)-5 << 64) + 6, 7 + 8 * I, 9 + 10 * I, 11 + 12 * I);
      TELL(vectors, (four){1, 2, 3, 4}, (__m128d){5, 6}, (four){0, 0, 7, 0});
      tell("gives_long", gives_long(1l << 40) - (1l << 40));
      tell("gives_double", gives_double(0.5) == 1.5 ? 1 : gives_double(0.5) == 2.5 ? 2 : -1);
      tell("gives_float", gives_float(0.5f) == 1.5f ? 1 : gives_float(0.5f) == 2.5f ? 2 : -1);
      tell("gives_long_double", (long)gives_long_double(0));
      c = gives_complex(5 * I);
      tell("gives_complex", cimagl(c) == 5 ? (long)creall(c) : -1);
      i = gives_int128((__int128)7 << 64);
      tell("gives_int128", (long)(i >> 64) == 7 ? (long)i : -1);
      mixed = gives_mixed((struct mixed){10, 20});
      tell("gives_mixed", mixed.a - 10 == 20 - mixed.b ? mixed.a - 10 : -1);
      doubles = gives_doubles((struct doubles){10, 20});
      tell("gives_doubles", doubles.a - 10 == 20 - doubles.b ? (long)doubles.a - 10 : -1);
      made = gives_big(big);
      tell("gives_big", made.a[0] == 13 && made.a[4] - 17 == 18.5 - made.b ? made.a[4] - 17 : -1);
      tell("gives_vector", gives_vector((four){0, 0, 0, 0})[3]);
      puts(".");
    }
  }
]]}

local function expected(number)
  local parts = {}
  for index, name in ipairs(names) do parts[index] = ("%s=%d "):format(name, number) end
  return table.concat(parts) .. ".\n"
end
local c <close> = t.target {program}
t.switches(c, fix, {old = 1, new = 2}, function(new, old)
  c:ask("?", expected(new), {reject = {"=" .. old, "=-"}})
end)
