-- timeout: 120
-- Where gdb holds the process, its `call` of gdb_ulp_apply and gdb_ulp_revert patches and takes back, while threads run through
-- the functions; whatever is wrong is refused with SUSE's number and changes nothing; ulpsh goes on from there.
local t = require "ulp.scenario"
local ulp = require "ulp"

if not io.open "/usr/bin/gdb" then t.skip "no gdb" end

--- gdb on a process; `call(what, path)` is what the function returned.
local function hold(c)
  local gdb = t.spawn {
    "/usr/bin/gdb", "-q", "-nx", "-p", tostring(c.pid), "-ex", "echo attached\\n", timeout = 40, pty = true,
    env = {DEBUGINFOD_URLS = "", TERM = "dumb"},
  }
  gdb:expect("attached", {reject = "ptrace:"})
  local function call(what, path)
    gdb:send(('call (int) gdb_ulp_%s("%s")\n'):format(what, path))
    return tonumber((gdb:expect("%$%d+ = (%-?%d+)", {pattern = true})))
  end
  return gdb, call
end

do
  local c <close> = t.target {"numserv", timeout = 20}
  local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"
  local function serves(dozen, hundred)
    c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
    c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  end
  serves(12, 100)
  local before = t.snapshot(c.pid)
  do
    local gdb <close>, call = hold(c)
    t.eq(call("apply", "/no/such/file.so"), 269, "ENOMETA")
    t.eq(call("apply", t.path "dozens_13.so"), 269, "ENOMETA")
    t.eq(call("apply", "/dev/zero"), 269, "ENOMETA")
    t.eq(call("apply", t.patch "version_1"), 276, "ENOTARGETLIB")
    t.eq(call("revert", dozens), 272, "ENOTAPPLIED")
    t.eq(call("apply", dozens), 0)
    t.eq(call("apply", dozens), 275, "EAPPLIED")
    t.eq(call("apply", hundreds), 0)
    gdb:ask("detach", "detached")
  end
  serves(13, 200)
  local p <close> = assert(ulp.attach(c.pid))
  t.state(ulp.trigger(p, dozens), "already", "ulpsh sees it")
  t.eq(#ulp.patches(p), 2)
  t.state(ulp.revert(p, dozens), "done")
  serves(12, 200)
  do
    local gdb <close>, call = hold(c)
    t.eq(call("revert", hundreds), 0)
    gdb:ask("detach", "detached")
  end
  serves(12, 100)
  t.state(ulp.set_patchable(p, false), "done")
  do
    local gdb <close>, call = hold(c)
    t.eq(call("apply", dozens), 280, "EUSRBLOCKED")
    gdb:ask("detach", "detached")
  end
  serves(12, 100)
  t.eq(#ulp.patches(p), 0, "nothing is applied")
  for row, shown in pairs(before.files) do
    if shown:find("lib%w+%.so") then
      local found = false
      for _, now in pairs(t.snapshot(c.pid).files) do found = found or now == shown end
      t.ok(found, ("the protection of row %d stays: %s"):format(row, shown))
    end
  end
  t.unharmed(c.pid)
end

-- The other threads run meanwhile: no call is lost, and no register.
do
  local c <close> = t.target {"threads", "3", timeout = 20}
  local mix, dozens = t.patch "mix_odd", t.patch "dozens_13"
  local function tell(dozen) c:ask("tell", ("wrong=0 registers=0 idle=%%d+ dozen=%d%%."):format(dozen), {pattern = true}) end
  tell(12)
  local gdb <close>, call = hold(c)
  for _ = 1, 10 do
    for _, fix in ipairs {mix, dozens} do t.eq(call("apply", fix), 0, fix) end
    for _, fix in ipairs {dozens, mix} do t.eq(call("revert", fix), 0, fix) end
  end
  t.eq(call("apply", dozens), 0)
  gdb:ask("detach", "detached")
  tell(13)
  t.state(ulp.revert(assert(ulp.attach(c.pid)), dozens), "done")
  tell(12)
  t.unharmed(c.pid)
end

-- A program calls it itself, again and again, while its threads run through the function; also without a file, by a path that
-- is not absolute, and from the constructor of what it is about to load.
do
  local program = t.cc {kind = "program", as = "selfmade", libraries = {t.path "libdozens.so.0"}, link = {"-rdynamic"}, code = [[
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <pthread.h>
    #include <stdatomic.h>
    #include <stdio.h>
    #include <string.h>
    int dozen(void);
    int nested = -1;
    static atomic_long calls, odd;
    static void *work(void *unused) {
      for (;;) {
        int got = dozen();
        calls++;
        odd += got != 12 && got != 13;
      }
      return unused;
    }
    int main(void) {
      char word[16], path[4096];
      pthread_t thread;
      int (*apply)(const char *) = dlsym(RTLD_DEFAULT, "gdb_ulp_apply");
      int (*revert)(const char *) = dlsym(RTLD_DEFAULT, "gdb_ulp_revert");
      if (!apply || !revert) return 3;
      for (int i = 0; i < 3; i++)
        if (pthread_create(&thread, NULL, work, NULL)) return 2;
      setvbuf(stdout, NULL, _IONBF, 0);
      puts("ready");
      while (scanf("%15s %4095s", word, path) == 2) {
        int result = strcmp(word, "apply") ? revert(path) : apply(path);
        long before = calls;
        while (calls < before + 100) {}
        printf("result=%d dozen=%d odd=%ld nested=%d null=%d.\n", result, dozen(), (long)odd, nested, apply(NULL));
      }
      return 0;
    }
  ]]}
  local fix = t.patch "dozens_13"
  local c <close> = t.target {program, timeout = 20, cwd = t.directory()}
  local function is(word, path, result, dozen, nested)
    c:ask(word .. " " .. path, ("result=%d dozen=%d odd=0 nested=%d null=269.\n"):format(result, dozen, nested or -1))
  end
  for _ = 1, 30 do
    is("apply", fix, 0, 13)
    is("revert", fix, 0, 12)
  end
  is("revert", fix, 272, 12)
  is("apply", "./dozens_13.so", 0, 13)
  t.eq(ulp.patches(c.pid)[1].path, t.directory() .. "/./dozens_13.so")
  is("revert", "dozens_13.so", 0, 12)
  local p <close> = assert(ulp.attach(c.pid))
  t.eq(p:runtime():patches()[1].state, "retired", "one block is enough")
  t.ok(#p:runtime():patches() <= 2, "blocks do not pile up")
  local loads = t.cc {as = "loads.so", target = t.path "libdozens.so.0", units = {dozen = "more"}, undefined = "allow", code = ([[
    extern int nested;
    int gdb_ulp_apply(const char *);
    int more(void) { return 13; }
    __attribute__((constructor)) static void start(void) { nested = gdb_ulp_apply("%s"); }
  ]]):format(fix)}
  is("apply", loads, 0, 13, 11)
  t.state(ulp.trigger(p, fix), "done", "ulpsh after it")
  t.state(ulp.revert(p, {fix, loads}), "done")
  c:ask("revert " .. fix, "result=272 dozen=12")
  t.unharmed(c.pid)
end
