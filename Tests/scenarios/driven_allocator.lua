-- timeout: 90
-- Another allocator with a thread of its own, as jemalloc has: while that thread waits for work SUSE's tool is not told "not
-- now" for ever. A thread of the program that waits inside the allocator is something else: what it holds nobody knows.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

local allocator = t.cc {kind = "library", as = "liballocator.so", code = [[
  #include <pthread.h>
  #include <stddef.h>
  #include <string.h>
  static _Alignas(16) char arena[64 << 20];
  static _Atomic size_t used;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
  void *malloc(size_t size) {
    size_t room = ((size + 15) & ~(size_t)15) + 16, at = __atomic_fetch_add((size_t *)&used, room, __ATOMIC_SEQ_CST);
    *(size_t *)(arena + at) = size;
    return at + room > sizeof arena ? NULL : arena + at + 16;
  }
  void free(void *block) { (void)block; }
  void *calloc(size_t count, size_t size) { return malloc(count * size); }
  void *realloc(void *block, size_t size) {
    size_t old = block ? *(size_t *)((char *)block - 16) : 0;
    void *other = malloc(size);
    return block ? memcpy(other, block, old < size ? old : size) : other;
  }
  __attribute__((noinline)) void allocator_wait(void) {
    pthread_mutex_lock(&mutex);
    for (;;) pthread_cond_wait(&work, &mutex);
  }
  static void *serve(void *unused) {
    allocator_wait();
    return unused;
  }
  void allocator_start(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, serve, NULL);
  }
]]}
local program = t.cc {kind = "program", as = "served", libraries = {allocator, t.path "libdozens.so.0"}, code = [[
  #include <pthread.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  int dozen(void);
  void allocator_wait(void), allocator_start(void);
  static void *visit(void *unused) {
    allocator_wait();
    return unused;
  }
  int main(int argc, char **argv) {
    char line[80];
    pthread_t thread;
    for (int i = 0; i < 3; i++) allocator_start();
    if (!strcmp(argv[argc - 1], "visitor")) pthread_create(&thread, NULL, visit, NULL);
    usleep(100000);
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("dozen=%d.\n", dozen());
  }
]]}

do
  local c <close> = t.target {program, "servants"}
  for _ = 1, 5 do
    suse.trigger(c, fix)
    c:ask("?", "dozen=13.", {reject = "dozen=12"})
    suse.revert(c, fix)
    c:ask("?", "dozen=12.", {reject = "dozen=13"})
  end
  t.unharmed(c.pid)
end
do
  local c <close> = t.target {program, "visitor"}
  for _ = 1, 20 do t.eq(suse.run("trigger", c.pid, fix).name, "EAGAIN") end
  t.ok(suse.run("messages", c.pid).text:find "is in the allocator", "the reason")
  c:ask("?", "dozen=12.", {reject = "dozen=13"})
  t.state(ulp.trigger(c.pid, fix), "done", "ulpsh needs no such moment")
  c:ask("?", "dozen=13.", {reject = "dozen=12"})
end

-- And one that is in use everywhere.
if io.open "/usr/bin/redis-server" then
  local c <close> = t.spawn {
    "/usr/bin/redis-server", "--port", "0", "--save", "", "--unixsocket", t.directory() .. "/socket", timeout = 20,
    env = {LD_PRELOAD = ulp.core.runtime_path .. " " .. t.path "libdozens.so.0"},
  }
  t.wait_until(function() return io.open(t.directory() .. "/socket") or t.states(c.pid):find "^S+$" end)
  t.sleep(0.3)
  suse.trigger(c, fix)
  t.ok(suse.applied(c, fix))
  suse.revert(c, fix)
  t.unharmed(c.pid)
end
