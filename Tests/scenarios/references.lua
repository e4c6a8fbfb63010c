-- References to a private function, a private variable and a private thread-local variable of a library that is loaded after the
-- start, used by several threads; with offsets found by the packer. What is reached is the library's own, also when it was
-- unloaded and loaded again elsewhere.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libprivate", code = [[
  static int total = 5;
  static __thread int mine = 70;
  static __attribute__((noinline)) int helper(int x) { __asm__ volatile(""); return x + total; }
  int count(void) { mine++; return helper(mine); }
  int grow(int by) { total += by; return total; }
]]}
local fix = t.cc {as = "private_2.so", target = library, units = {count = "count_2"},
  references = {"helper:helper_ref", "total:total_ref", "%mine:mine_ref"},
  code = [[
  extern void *__tls_get_addr(void *);
  int (*helper_ref)(int);
  int *total_ref;
  struct { unsigned long module, offset; } mine_ref;
  int count_2(void) {
    int *mine = __tls_get_addr(&mine_ref);
    *mine += 1;
    return 100000 + helper_ref(*mine) + 1000 * *total_ref;
  }
]]}
t.eq(#assert(ulp.container(fix)).references, 3)

local program = t.cc {kind = "program", as = "private_user", link = {"-ldl"}, code = [[
  #include <dlfcn.h>
  #include <pthread.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  static void *library;
  static int (*count)(void), (*grow)(int);
  static int asks[4][2], tells[4][2];
  static void *work(void *which) {
    long number = (long)which;
    char byte;
    while (read(asks[number][0], &byte, 1) == 1) {
      int value = count();
      if (write(tells[number][1], &value, sizeof value) != sizeof value) break;
    }
    return which;
  }
  int main(int argc, char **argv) {
    char word[64];
    int by;
    pthread_t thread;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (long i = 0; i < 4; i++)
      if (pipe(asks[i]) || pipe(tells[i]) || pthread_create(&thread, NULL, work, (void *)i)) return 2;
    puts("ready");
    while (argc > 1 && scanf("%63s", word) == 1) {
      if (strcmp(word, "open") == 0) {
        library = dlopen(argv[1], RTLD_NOW);
        count = (int (*)(void))dlsym(library, "count");
        grow = (int (*)(int))dlsym(library, "grow");
        puts("open");
      }
      if (strcmp(word, "close") == 0) printf("close=%d\n", dlclose(library));
      if (strcmp(word, "grow") == 0 && scanf("%d", &by) == 1) printf("grow=%d\n", grow(by));
      if (strcmp(word, "count") == 0) {
        for (int i = 0; i < 4; i++) {
          int value = 0;
          if (write(asks[i][1], "x", 1) != 1 || read(tells[i][0], &value, sizeof value) != sizeof value) return 3;
          printf("%d ", value);
        }
        puts("");
      }
    }
  }
]]}

local c <close> = t.target {program, library, timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
-- The model: one total, and one count for each thread.
local total, mine
local function counts(is_new)
  mine = mine + 1
  local old, new = mine + total, 100000 + mine + total + 1000 * total
  local expected, wrong = is_new and new or old, is_new and old or new
  c:ask("count", ("%d "):format(expected):rep(4) .. "\n", {reject = ("%%f[%%d]%d "):format(wrong), pattern = true})
  t.unharmed(c.pid)
end
t.refused("target.not_loaded", function() return ulp.trigger(p, fix) end)
for round = 1, 2 do
  c:ask("open", "open\n")
  total, mine = 5, 70
  for _ = 1, 2 do
    counts(false)
    counts(false)
    t.state(ulp.trigger(p, fix), "done", "round " .. round)
    counts(true)
    c:ask("grow 3", ("grow=%d\n"):format(total + 3))
    total = total + 3
    counts(true)
    t.state(ulp.check(p, fix), "done")
    t.state(ulp.revert(p, fix), "done")
    counts(false)
  end
  t.state(ulp.trigger(p, fix), "done")
  counts(true)
  c:ask("close", "close=0\n")
  t.state(ulp.revert(p, fix), "done", "of what was lost")
end
