-- timeout: 180
-- A patch's way from the library's source to the running process, by hand as README.md and ulp-description(5) describe it, for a
-- C and a C++ library.
local t = require "ulp.scenario"
local ulp = require "ulp"

local here = t.directory()
local function path(name) return here .. "/" .. name end
local function run(...)
  local child = t.spawn {cwd = here, timeout = 60, ...}
  child:expect_exit(0)
  return child
end
local prepared = {"-O2", "-fPIC", "-shared", "-fpatchable-function-entry=16,14", "-Wl,--build-id"}
local patch = {"-O2", "-fPIC", "-shared", "-Wl,--build-id"}
local function compile(compiler, flags, ...)
  local command = table.move(flags, 1, #flags, 2, {compiler})
  run(table.unpack(table.move({...}, 1, select("#", ...), #command + 1, command)))
end
local function program(library, header, call)
  t.write_file(path "program.cc", ([[
    #include <cstdio>
    %s
    int main() {
      char line[80];
      while (std::fgets(line, sizeof line, stdin)) { std::printf("%%d\n", %s); std::fflush(stdout); }
    }
  ]]):format(header, call))
  run("g++", "-O2", "-o", "program", "program.cc", "-L.", "-l:" .. library, "-Wl,-rpath,$ORIGIN")
end
local function pack(...)
  t.write_file(path "fix.dsc", table.concat({...}, "\n") .. "\n")
  local tool = t.ulpsh {"pack", "fix.dsc", cwd = here}
  tool:expect(path "fix.so" .. "\n")
  tool:expect_exit(0)
end
local function proves(old, new)
  local c <close> = t.spawn {"./program", preload = true, cwd = here}
  t.switches(c, path "fix.so", {old = old, new = new}, function(expected, rejected)
    c:ask("?", ("%d\n"):format(expected), {reject = ("%d\n"):format(rejected)})
  end)
end

-- C: a function that uses a static variable and a thread-local one.
t.write_file(path "libcount.c", [[
  static int total = 3;
  static __thread int own = 40;
  int count(void) { return total + own; }
  void set(int a, int b) { total = a; own = b; }
]])
compile("gcc", prepared, "-Wl,-soname,libcount.so.0", "-o", "libcount.so.0", "libcount.c")
program("libcount.so.0", 'extern "C" int count();', "count()")
t.write_file(path "fix.c", [[
  int *total_ref; /* not static: the compiler would take it for NULL */
  struct { unsigned long module, offset; } own_ref;
  void *__tls_get_addr(void *);
  int count_fixed(void) { return *total_ref + *(int *)__tls_get_addr(&own_ref) + 1000; }
]])
compile("gcc", patch, "-o", "fix.so", "fix.c")
pack("! count on", "fix.so", "@libcount.so.0", "count:count_fixed", "#total:total_ref", "#%own:own_ref")
t.eq(assert(ulp.container(path "fix.so")).comments:match "count on", "count on", "comment")
proves(43, 1043)

-- C++: a method by its mangled name, as `nm` shows it, and a static function.
t.write_file(path "libtill.cc", [[
  struct Till { int take(int coins); int sum; };
  __attribute__((noinline)) static int twice(int x) { asm(""); return 2 * x; }
  int Till::take(int coins) { return sum += twice(coins); }
]])
compile("g++", prepared, "-Wl,-soname,libtill.so.0", "-o", "libtill.so.0", "libtill.cc")
program("libtill.so.0", "struct Till { int take(int coins); int sum; };", "Till{1}.take(5)")
t.write_file(path "fix.cc", [[
  struct Till { int take_fixed(int coins); int sum; };
  int Till::take_fixed(int coins) { return sum += 100 * coins; }
  int twice_fixed(int x) { return 3 * x; }
]])
compile("g++", patch, "-o", "fix.so", "fix.cc")
pack("fix.so", "@libtill.so.0", "_ZN4Till4takeEi:_ZN4Till10take_fixedEi")
proves(11, 501)
pack("fix.so", "@libtill.so.0", "_ZL5twicei:_Z11twice_fixedi")
proves(11, 16)

-- The same in one step.
os.remove(path "fix.so")
local tool = t.ulpsh {"cc", "-t", "libtill.so.0", "-u", "Till::take:Till::take_fixed", "fix.cc", cwd = here, timeout = 60}
tool:expect("fix.so\n")
tool:expect_exit(0)
proves(11, 501)
