-- timeout: 240
-- What SUSE's own tests demand where ulpsh does more than SUSE's tool can: thread-local variables, threads inside, page
-- protections, imports that cannot be resolved, labels, opt-out variables, prefixes, many processes.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"
local core = require "ulp.core"

local dozens = t.patch "dozens_13"

-- tls: every thread reaches its own instance. A call that had begun when the world stood still ends as it began.
do
  local fix = t.patch "tenant_2"
  local c <close> = t.target {"tenants", timeout = 20}
  local function only(is_new)
    c:ask("main", is_new and "main=-99\n" or "main=99\n", {reject = is_new and "main=99" or "main=-99"})
    t.wait_until(function()
      c:send "tell\n"
      local old, new, wrong = c:expect("old=(%d+) new=(%d+) wrong=(%d+)%.\n", {pattern = true})
      t.eq(wrong, "0", "numbers of another thread")
      t.sleep(0.05)
      return (is_new and old or new) == "0" and (is_new and new or old) ~= "0"
    end, "calls of this version alone")
    t.unharmed(c.pid)
  end
  only(false)
  for _ = 1, 5 do
    suse.trigger(c, fix)
    only(true)
    suse.revert(c, fix)
    only(false)
  end
end

-- Several threads inside: they finish there, whoever comes next is in the new world.
do
  local fix = t.patch "linger_2"
  local c <close> = t.target {"lingerer", timeout = 20}
  local function enter(count)
    for _ = 1, count do c:ask("enter", "entering\n") end
    t.asleep(c.pid)
  end
  local function leave(version, count)
    for _ = 1, count do c:ask("leave", ("left=%d\n"):format(version), {reject = {"left=-1", "left=" .. 3 - version}}) end
  end
  enter(4)
  suse.trigger(c, fix)
  leave(1, 4)
  enter(3)
  suse.revert(c, fix)
  leave(2, 3)
  enter(1)
  leave(1, 1)
  t.unharmed(c.pid)
end

-- memory_protection: each page of the library, made writable by the program or not, is what it was.
do
  local library = t.cc {kind = "library", as = "libprotected", code = "int dozen(void) { return 12; }"}
  local program = t.cc {kind = "program", as = "protected", libraries = {library}, code = [[
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    int dozen(void);
    int main(int argc, char **argv) {
      char line[80];
      void *page = (void *)((uintptr_t)dozen & -4096l);
      if (!strcmp(argv[argc - 1], "rwx") && mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)) return 2;
      for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("dozen=%d.\n", dozen());
    }
  ]]}
  local fix = t.cc {as = "protected.so", target = library, units = {dozen = "more"}, code = "int more(void) { return 13; }"}
  local name = library:match "[^/]*$"
  for _, kind in ipairs {"rwx", "none"} do
    local c <close> = t.target {program, kind}
    local function rows()
      local found = {}
      for _, row in ipairs(t.snapshot(c.pid).files) do
        if row:find(name, 1, true) then found[#found + 1] = row end
      end
      return found
    end
    local before = rows()
    t.ok(#before > 3 and (kind == "none") ~= (table.concat(before):find " rwxp " ~= nil), "the pages are as wanted")
    for _ = 1, 2 do
      suse.trigger(c, fix)
      t.eq(rows(), before, "applied")
      c:ask("?", "dozen=13.", {reject = "dozen=12"})
      suse.revert(c, fix)
      t.eq(rows(), before, "reverted")
      c:ask("?", "dozen=12.", {reject = "dozen=13"})
    end
  end
end

-- visibility, access2: an import that cannot be resolved is the loader's refusal, and can be tried again; pointers to what is
-- hidden, a variable and a function, work.
do
  local c <close> = t.target {"caller", t.path "libsecret.so.0"}
  local imports, points = t.patch "secret_import", t.patch "secret_2"
  local function serves(extra)
    c:ask("peek", ("peek=%d\n"):format(40 + extra), {reject = ("peek=%d\n"):format(1040 - extra)})
    c:ask("blended", ("blended=%d\n"):format(80 + extra), {reject = ("blended=%d\n"):format(1080 - extra)})
    t.unharmed(c.pid)
  end
  local function refused()
    suse.expect("EDLOPEN", "trigger", c.pid, imports)
    t.ok(suse.run("messages", c.pid).text:find("Unable to load shared object [^\n]*undefined symbol"), "the loader's reason")
  end
  serves(0)
  refused()
  refused()
  serves(0)
  suse.trigger(c, points)
  serves(1000)
  refused()
  serves(1000)
  suse.revert(c, points)
  serves(0)
end

-- comments: the record names the file that has the labels.
do
  local c <close> = t.target "numserv"
  local fix = t.patch("dozens_13", {as = "labelled", units = {"! fixes bsc#1234567 and CVE-2026-1", "dozen:dozens_13"}})
  suse.trigger(c, fix)
  t.ok(suse.run("list", c.pid).text:find(" container=" .. fix .. " ", 1, true), "the path")
  t.eq(ulp.patches(c.pid)[1].labels, {"bsc#1234567", "CVE-2026-1"})
end

-- path_disable, user_disable, group_disable: until set_patchable lifts it.
for name, value in pairs {PATH = "/nowhere:*/numserv", USERS = "0:*", GROUPS = "*"} do
  local c <close> = t.target {"numserv", env = {["LIBPULP_DISABLE_ON_" .. name] = value}}
  suse.expect("EUSRBLOCKED", "trigger", c.pid, dozens)
  suse.expect("EUSRBLOCKED", "revert-all", c.pid, "libdozens.so.0")
  c:ask("dozen", "12\n", {reject = "13"})
  t.eq(suse.run("enable", c.pid).text:match "state=(%d+)", "0")
  suse.trigger(c, dozens)
  c:ask("dozen", "13\n", {reject = "12"})
end

-- chroot: the prefix leads out of it.
if core.file_kind "/proc/1/root/tmp" then
  local c <close> = t.target {"confined", "/proc"}
  suse.expect("ENONE", "-R", "/1/root", "trigger", c.pid, dozens)
  c:ask("dozen", "13\n", {reject = "12"})
  suse.expect("ENONE", "--revert", "-R", "/1/root", "trigger", c.pid, dozens)
  c:ask("dozen", "12\n", {reject = "13"})
end

-- syscall_restart: a read that waits is not told of it. libpulp_messages: the queue stays readable meanwhile.
do
  local library = t.cc {kind = "library", as = "librestart", code = "int dozen(void) { return 12; }"}
  local program = t.cc {kind = "program", as = "restart", libraries = {library}, code = [[
    #include <errno.h>
    #include <stdio.h>
    #include <unistd.h>
    int dozen(void);
    int main(void) {
      char line[80];
      for (puts("ready");;) {
        fflush(stdout);
        long size = read(0, line, sizeof line);
        if (size == 0) return 0;
        printf("read=%ld errno=%d dozen=%d.\n", size, size < 0 ? errno : 0, dozen());
      }
    }
  ]]}
  local fix = t.cc {as = "restart.so", target = library, units = {dozen = "more"}, code = "int more(void) { return 13; }"}
  local c <close> = t.target {program}
  for _ = 1, 10 do
    suse.trigger(c, fix)
    t.ok(suse.applied(c, fix))
    c:ask("?", "read=2 errno=0 dozen=13.", {reject = {"read=-1", "dozen=12"}})
    suse.revert(c, fix)
    t.ok(suse.run("messages", c.pid).text:find("^libpulp loaded...\n"), "the first message")
    c:ask("?", "read=2 errno=0 dozen=12.", {reject = {"read=-1", "dozen=13"}})
  end
end

-- manyprocesses, stress: one after the other.
do
  local many = {}
  for index = 1, 20 do many[index] = t.target "numserv" end
  for _, c in ipairs(many) do suse.trigger(c, dozens) end
  for _, c in ipairs(many) do
    c:ask("dozen", "13\n", {reject = "12"})
    suse.expect("ENONE", "revert-all", c.pid, "libdozens.so.0")
    c:ask("dozen", "12\n", {reject = "13"})
    c:close()
  end
end
