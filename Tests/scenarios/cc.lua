-- timeout: 180
-- The authoring help compiles C and C++ into working patches from options or notes in the source, and explains every mistake.
local t = require "ulp.scenario"
local ulp = require "ulp"

local here = t.directory()
local function path(name) return here .. "/" .. name end

local library = assert(ulp.cc {kind = "library", output = path "libshop.so.0", code = [[
  static __thread volatile int mood = 3;
  static volatile int total = 7;
  int dozen(void) { return 12; }
  __attribute__((noinline, noclone)) static int secret(int x) { return x + 1; }
  int open_secret(int x) { return secret(x) * 10 + total - 7 + mood - 3; }
]]})
t.eq(library, path "libshop.so.0", "path of the library")
local program = assert(ulp.cc {
  kind = "program", output = path "shop", libraries = {library}, flags = {"-Wall", "-Werror"}, code = [[
  #include <stdio.h>
  int dozen(void);
  int open_secret(int x);
  int main(void) {
    char line[80];
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("dozen=%d secret=%d\n", dozen(), open_secret(4));
  }
]]})

local function serves(c, dozen, secret, others)
  c:ask("?", ("dozen=%d secret=%d\n"):format(dozen, secret), {reject = others})
  t.unharmed(c.pid)
end
local function proves(fix, dozen, secret)
  local c <close> = ulp.spawn {program, preload = true}
  local old, new = "dozen=12 secret=50\n", ("dozen=%d secret=%d\n"):format(dozen, secret)
  serves(c, 12, 50, new)
  t.state(ulp.trigger(c.pid, fix), "done")
  serves(c, dozen, secret, old)
  t.state(ulp.revert(c.pid, fix), "done")
  serves(c, 12, 50, new)
end

-- Everything said in the source: exported and static functions, ordinary and thread-local variables of the target.
local noted = assert(ulp.cc {target = library, output = path "noted.so", comment = "from a test", code = [[
  #include <ulp.h>
  int *total_ref;
  struct { unsigned long module, offset; } mood_ref;
  extern void *__tls_get_addr(void *);
  int dozen_fixed(void) { return 13; }
  int secret_fixed(int x) { return x + 2 + (*total_ref == 7) + (*(int *)__tls_get_addr(&mood_ref) == 3); }
  ULP_REPLACE(dozen, dozen_fixed);
  ULP_REPLACE("secret", secret_fixed);
  ULP_REFERENCE(total, total_ref);
  ULP_TLS_REFERENCE(mood, mood_ref);
  ULP_COMMENT("a \"baker's\" dozen");
]]})
t.eq(#noted.units, 2, "units")
t.eq(#noted.references, 2, "references")
t.ok(noted.comments:find("a \"baker's\" dozen\n", 1, true) and noted.comments:find("from a test\n", 1, true), "comments")
t.ok(not t.read_file(noted.path):find(".ulp.units", 1, true), "the notes are gone")
proves(noted, 13, 80)

-- The same said by options, in both forms, for a source that is a file.
local source = t.write_file(path "fix me; touch pwned.c", [[
  int *total_ref;
  int dozen_fixed(void) { return 14; }
  int secret_fixed(int x) { return x + *total_ref; }
]])
local by_table = assert(ulp.cc {
  source = source, target = library, output = path "table.so", units = {dozen = "dozen_fixed", secret = "secret_fixed"},
  references = {total = "total_ref"},
})
proves(by_table, 14, 110)
local by_list = assert(ulp.cc {
  source = source, target = library, output = path "list.so",
  units = {"dozen:dozen_fixed", "secret:secret_fixed", "#total:total_ref"},
})
t.eq(by_list.build_id, by_table.build_id, "the same source under another name")
t.eq(#by_list.references, 1, "references of a list")
t.ok(not io.open "pwned.c", "a file's name is no command")

-- The command is the same function.
do
  local tool <close> = t.ulpsh {
    "cc", "-t", library, "-u", "dozen:dozen_fixed", "--unit", "secret:secret_fixed", "-r", "total:total_ref", source,
    "-o", path "command.so", timeout = 60,
  }
  tool:expect(path "command.so" .. "\n")
  tool:expect_exit(0)
  local made = assert(ulp.container(path "command.so"))
  t.eq({made.build_id, #made.units, #made.references}, {by_table.build_id, 2, 1}, "the command's patch")
end

do
  t.write_file(path "wrong.c", "int f(void) {\n  return 1 +;\n}\n")
  local tool <close> = t.ulpsh {"cc", "-t", library, "-u", "dozen:f", path "wrong.c", "-o", path "command.so", timeout = 60}
  tool:expect "    2 |   return 1 +;\n"
  tool:expect "[cc.failed]"
  tool:expect_exit(1)
  t.write_file(path "odd.c", "int f(void) { int unused; return 1; }\n")
  local warned <close> = t.ulpsh {
    "cc", "-t", library, "-u", "dozen:f", "--flag=-Wall", path "odd.c", "-o", path "command.so", timeout = 60,
  }
  warned:expect "unused variable"
  warned:expect(path "command.so" .. "\n")
  warned:expect_exit(0)
end

-- C++: methods, overloads and templates by the names that people write.
local cxx = assert(ulp.cc {kind = "library", language = "c++", output = path "libtill.so.0", code = [[
  struct Till {
    Till(int start);
    int take(int coins);
    int take(long coins) const;
    int sum;
  };
  Till::Till(int start) : sum(start) {}
  int Till::take(int coins) { return sum += coins; }
  int Till::take(long coins) const { return sum - (int)coins; }
  template <class A, class B> int twice(A a, B b) { return 2 * (a + (int)b); }
  template int twice<int, long>(int, long);
]]})
local function till(units, code)
  return ulp.cc {target = cxx, language = "c++", units = units, code = code or [[
    struct Till { int sum; };
    int take_fixed(Till *, int) { return 1; }
    namespace fixed { int take(const Till *, long) { return 2; } int twice(int, long) { return 3; } }
  ]]}
end
local named = assert(till {
  ["Till::take(int)"] = "take_fixed", ["Till::take( long )const"] = "fixed::take",
  ["twice<int,long>"] = "fixed::twice(int, long)",
})
local found = {}
for _, unit in ipairs(named.units) do found[unit.old_name] = unit.new_name end
t.eq(found, {
  _ZN4Till4takeEi = "_Z10take_fixedP4Tilli",
  _ZNK4Till4takeEl = "_ZN5fixed4takeEPK4Tilll",
  _Z5twiceIilEiT_T0_ = "_ZN5fixed5twiceEil",
}, "mangled names")
local unclear = t.raises("target.function_ambiguous", function() return till {["Till::take"] = "take_fixed"} end)
t.eq(#unclear.candidates, 2, "candidates")
local born = assert(till({["Till::Till"] = "born"}, 'extern "C" void born(int *sum, int) { *sum = 0; }'))
t.eq(born.units[1].new_name, "born", "a constructor's replacement")

-- Mistakes; the file made before stays.
local kept = t.read_file(noted.path)
local plain = "int f(void) { return 1; }"
local units = {dozen = "f"}
local function fails(code, options, message)
  options.target, options.output = options.target or library, noted.path
  local failure = t.raises(code, function() return ulp.cc(options) end)
  t.ok(failure.message:find(message, 1, true), failure.message)
  t.eq(t.read_file(noted.path), kept, "the old output")
  return failure
end
local failure = fails("cc.failed", {code = "int f(void) {\n  return x;\n}\n", units = units}, "inline.c:2:10: error: 'x'")
t.eq({failure.path, failure.line, failure.column}, {"inline.c", 2, 10}, "the place")
t.ok(failure.output:find("return x;", 1, true), "the compiler's text")
fails("cc.missing", {code = "int f;", units = units, cc = "/nonexistent/cc"}, "/nonexistent/cc")
local needy = "int g(int); int f(void) { return g(3); }"
failure = fails("container.unresolved", {code = needy, units = units}, "define g")
t.eq(failure.undefined, {"g"}, "undefined symbols")
fails("target.function_missing", {code = plain, units = {dozens = "f"}}, "has no function dozens")
fails("container.contradiction", {code = "static " .. plain .. " void *p = f;", units = units}, "f")
fails("file.unreadable", {source = path "absent.c", units = units}, "absent.c")
fails("file.unreadable", {code = plain, target = path "absent.so", units = units}, "absent.so")
fails("usage", {code = plain}, "nothing is replaced")
fails("usage", {code = plain, units = {"dozen"}}, "expected OLD:NEW")
fails("usage", {code = plain, unit = units}, "there is no option unit")
t.ok(ulp.cc {code = needy, target = library, units = units, undefined = "allow"}, "undefined symbols are allowed")

-- The target may be a program.
local main = assert(ulp.cc {kind = "program", output = path "alone", code = [[
  #include <stdio.h>
  __attribute__((noinline, noclone)) static int answer(void) { __asm__(""); return 41; }
  int main(void) { char line[9]; while (fgets(line, sizeof line, stdin)) { printf("%d\n", answer()); fflush(stdout); } }
]]})
local fix = assert(ulp.cc {
  target = main, code = "#include <ulp.h>\nint answer_fixed(void) { return 42; }\nULP_REPLACE(answer, answer_fixed);",
})
t.eq(fix.units[1].old_name, "answer", "a program's function")

-- Nothing is left of what nobody asked for, unless it is asked for.
for _, name in ipairs(assert(ulp.core.list_directory(here))) do t.ok(not name:find "%.%x%x%x%x+$", name .. " is unfinished") end
assert(ulp.cc {code = plain, target = library, units = units, directory = here, output = path "kept.so"})
t.ok(t.read_file(path "patch.dsc"):find("\ndozen:f\n", 1, true), "the description is kept")
