-- timeout: 120
-- Other preloaded libraries that replace malloc, use it before any constructor has run, and come before or after the runtime
-- do not disturb it; a patch's own constructor runs once for each time it is loaded.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libconstructor", code = [[
  #include <stdio.h>
  static int started;
  __attribute__((constructor)) static void start(void) { started = 12; }
  int dozen(void) { return started; }
]]}
-- Serves all memory itself, also before any constructor has run, its own included.
local interposer = t.cc {kind = "library", as = "libinterposer.so", code = [[
  #include <stddef.h>
  #include <string.h>
  #include <unistd.h>
  static _Alignas(16) char arena[64 << 20];
  static _Atomic size_t used;
  static int constructed;
  _Atomic long allocations, early;
  void *malloc(size_t size) {
    size_t room = (size + 31) & ~(size_t)15, at = used;
    while (!__atomic_compare_exchange_n((size_t *)&used, &at, at + room, 1, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (at + room > sizeof arena) _exit(99);
    *(size_t *)(arena + at) = size;
    allocations++;
    if (!constructed) early++;
    return arena + at + 16;
  }
  void free(void *block) { (void)block; }
  void *calloc(size_t count, size_t size) { return malloc(count * size); }
  void *realloc(void *block, size_t size) {
    void *other = malloc(size);
    size_t old = block ? *(size_t *)((char *)block - 16) : 0;
    return block ? memcpy(other, block, old < size ? old : size) : other;
  }
  void *aligned_alloc(size_t alignment, size_t size) {
    char *block = malloc(size + alignment);
    block += -(size_t)block & (alignment - 1);
    *(size_t *)(block - 16) = size;
    return block;
  }
  int posix_memalign(void **block, size_t alignment, size_t size) { *block = aligned_alloc(alignment, size); return 0; }
  __attribute__((constructor)) static void construct(void) { constructed = 1; }
]]}
-- Uses malloc, the loader and threads in its constructor and in its destructor.
local busybody = t.cc {kind = "library", as = "libbusybody.so", code = [[
  #include <dlfcn.h>
  #include <pthread.h>
  #include <stdlib.h>
  #include <string.h>
  long busy;
  static char *kept;
  static void *run(void *unused) { free(malloc(1000)); return unused; }
  __attribute__((constructor(101))) static void early(void) { kept = strdup("kept"); }
  __attribute__((constructor)) static void start(void) {
    pthread_t thread;
    void *library = dlopen("libm.so.6", RTLD_NOW);
    busy = library && dlsym(library, "cos") && !dlclose(library) && !strcmp(kept, "kept") &&
      !pthread_create(&thread, NULL, run, NULL) && !pthread_join(thread, NULL);
  }
  __attribute__((destructor)) static void stop(void) { free(kept); run(NULL); }
]]}
local program = t.cc {kind = "program", as = "constructor", libraries = {library}, code = [[
  #define _GNU_SOURCE
  #include <dlfcn.h>
  #include <stdio.h>
  #include <stdlib.h>
  int dozen(void);
  static long value(const char *name) {
    long *at = dlsym(RTLD_DEFAULT, name);
    return at ? *at : -1;
  }
  /* Runs before the constructors of all libraries (System V ABI, "Initialization and Termination Functions"). */
  static void *first;
  static void allocate_first(void) { first = malloc(100); }
  __attribute__((section(".preinit_array"), used)) static void (*at_start)(void) = allocate_first;
  int main(void) {
    char line[80];
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) {
      first = realloc(first, 200);
      printf("dozen=%d early=%d busy=%ld.\n", dozen(), value("early") > 0, value("busy"));
    }
    puts("bye");
  }
]]}
-- Its constructor allocates and leaves a trace; what the trace says is what the new function returns.
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = [[
  #include <stdlib.h>
  static int *runs;
  __attribute__((constructor)) static void start(void) { runs = malloc(sizeof *runs); *runs = runs ? 12 : 0; ++*runs; }
  __attribute__((destructor)) static void stop(void) { free(runs); }
  int dozen_2(void) { return *runs; }
]]}

local runtime = ulp.core.runtime_path
local orders = {
  {{runtime, interposer}, 1, -1}, {{interposer, runtime}, 1, -1}, {{runtime, busybody}, 0, 1}, {{busybody, runtime}, 0, 1},
  {{interposer, runtime, busybody}, 1, 1}, {{busybody, interposer, runtime}, 1, 1}, {{busybody, runtime, interposer}, 1, 1},
}
for _, order in ipairs(orders) do
  local c <close> = t.target {program, preload = order[1]}
  local function shows(new, old)
    local rest = (" early=%d busy=%d.\n"):format(order[2], order[3])
    c:ask("?", ("dozen=%d"):format(new) .. rest, {reject = "dozen=" .. old})
  end
  -- What holds variables is unloaded only when the operator says that nobody uses them.
  t.switches(c, fix, {old = 12, new = 13}, shows, 2, {unload = true})
  c:send_end()
  c:expect "bye\n"
  c:expect_exit(0)
end
