-- timeout: 120
-- SUSE's tool stops a thread between the two nops of an entry: the runtime says "not now", and has the tool merge them, which
-- changes nothing. Nobody comes to stand there again, and the next try succeeds; threads that call all the time notice nothing.
local t = require "ulp.scenario"
local suse = t.shared "suse"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libhot", code = "int hot(void) { return 12; }"}
local program = t.cc {kind = "program", as = "hot", libraries = {library}, code = [[
  #include <pthread.h>
  #include <stdatomic.h>
  #include <stdio.h>
  int hot(void);
  static atomic_long odd;
  static void *call(void *unused) {
    /* Nothing but calls: a stop must have a fair chance to fall between the nops. */
    for (;;)
      if ((hot() & ~1) != 12) odd++;
    return unused;
  }
  int main(void) {
    char line[80];
    pthread_t thread;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 0; i < 3; i++) if (pthread_create(&thread, NULL, call, NULL)) return 2;
    for (puts("ready"); fgets(line, sizeof line, stdin);)
      printf("odd=%ld hot=%d.\n", (long)odd, hot());
  }
]]}
local fix = t.cc {as = "hot_2.so", target = library, units = {hot = "hot_2"}, code = "int hot_2(void) { return 13; }"}
local address = assert(ulp.container(fix)).units[1].old_address

local merged = 0
for round = 1, 60 do
  local c <close> = t.target {program, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local entry = p.libs[library:match "[^/]*$"].bias + address
  t.eq(p:read(entry, 2), "\x90\x90", "two nops, as the compiler made them")
  local found = suse.run("--show", "--between", ("%x"):format(entry), "trigger", c.pid, fix)
  t.ok(found.name == "ENONE" or found.name == "EAGAIN", found.text)
  c:ask("?", ("odd=0 hot=%d.\n"):format(found.name == "ENONE" and 13 or 12))
  if found.name == "EAGAIN" and #found.writes > 0 then
    merged = merged + 1
    local write = found.writes[1]
    t.eq({#found.writes, write.address, write.size, write.data}, {1, entry, 1, "66"}, "what it is given")
    t.eq(p:read(entry, 2), "\x66\x90", "one nop of two bytes")
    t.ok(not ulp.check(p, fix).applied, "nothing is applied")
    t.unharmed(c.pid)
    suse.trigger(c, fix)
    c:ask("?", "odd=0 hot=13.\n", {reject = "hot=12"})
    suse.revert(c, fix)
    c:ask("?", "odd=0 hot=12.\n", {reject = "hot=13"})
  end
  t.unharmed(c.pid)
  if merged == 2 then break end
  t.ok(round < 60, "a thread is met between the nops")
end
