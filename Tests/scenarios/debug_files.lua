-- timeout: 120
-- What a stripped library's symbol table told is found in its separate debug file: below /usr/lib/debug by build ID, beside the
-- library by its link, or where it is said to be; a debug file of another build is none.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local directory = t.directory()
local function path(name) return directory .. "/" .. name end
local function run(...)
  local program <close> = t.spawn {timeout = 30, ...}
  program:expect_exit(0)
  return program:drain()
end

local function library(number)
  return t.cc {kind = "library", as = "libsplit.so.0", flags = {"-g"}, code = ([[
    static volatile int total = %d;
    static __attribute__((noinline, noclone)) int inner(void) { __asm__ volatile(""); return total; }
    int outer(void) { __asm__ volatile(""); return inner() + 0; }
    int bump(void) { return ++total; }
  ]]):format(number)}
end
local whole, other = library(10), library(20)
local function split(from, to)
  run("/usr/bin/objcopy", "--only-keep-debug", from, path(to))
  return path(to)
end
local debug_file, wrong = split(whole, "split.debug"), split(other, "wrong.debug")
local stripped = path "libsplit.so.0"
run("/usr/bin/strip", "-o", stripped, whole)
local id = ulp.livepatchable(whole).build_id
t.eq(ulp.livepatchable(stripped).build_id, id)

-- A patch of the static function, which uses the static variable.
t.write_file(path "fix.c", "int *total_ref;\nint inner_2(void) { return *total_ref + 100; }\n")
run("/usr/bin/gcc", "-O2", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-o", path "fix.so", path "fix.c")
local description = t.write_file(path "fix.dsc", ("%s\n@%s\ninner:inner_2\n#total:total_ref\n"):format(path "fix.so", stripped))
local function unknown() t.raises("target.function_missing", function() return ulp.pack(description) end) end
local function is_static(survey)
  for _, one in ipairs(survey.functions) do if one.name == "inner" then return true end end
end
local function known(how, options)
  local packed = assert(ulp.pack(description, options))
  t.eq({#packed.units, #packed.references, packed.units[1].old_name}, {1, 1, "inner"}, how)
  t.ok(is_static(assert(ulp.livepatchable(stripped, options))), how)
  local symbols = {}
  for _, symbol in ipairs(assert(ulp.extract(stripped, options)).symbols) do symbols[symbol.name] = true end
  t.eq({symbols.inner, symbols.total}, {true, true}, how)
end
unknown()
t.ok(not is_static(ulp.livepatchable(stripped)), "nobody knows it")
known("given", {debuginfo = debug_file})
t.raises("target.build_id", function() return ulp.pack(description, {debuginfo = wrong}) end)

-- The patch works on the stripped library.
local c <close> = t.target {"caller", stripped, timeout = 20}
local function shows(expected, rejected) c:ask("outer", ("outer=%d\n"):format(expected), {reject = "outer=" .. rejected}) end
t.switches(c, path "fix.so", {old = 10, new = 110}, shows)
c:ask("bump", "bump=11\n")
t.state(ulp.trigger(c.pid, path "fix.so"), "done")
shows(111, "11\n")

-- By its link: beside the library, and in `.debug` there; only with the same build ID.
run("/usr/bin/objcopy", "--add-gnu-debuglink=" .. debug_file, stripped)
assert(os.rename(debug_file, path "aside"))
unknown()
t.write_file(debug_file, t.read_file(wrong))
unknown()
assert(os.rename(path "aside", debug_file))
known "beside the library"
assert(os.execute(("mkdir %s && mv %s %s"):format(path ".debug", debug_file, path ".debug")))
known "in .debug"
assert(os.rename(path ".debug/split.debug", path "aside"))
unknown()

-- By its build ID, where distributions put it. That directory is covered in a namespace of our own, so nothing is left there.
local place = ("/usr/lib/debug/.build-id/%s"):format(id:sub(1, 2))
local function covered(source, ...)
  local script = 'mount -t tmpfs none /usr/lib/debug && mkdir -p "$1" && cp "$2" "$1/$3.debug" && echo covered && '
    .. 'shift 3 && exec "$@"'
  local tool = t.spawn {
    "/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh", place, source, id:sub(3), core.executable_path, timeout = 30, ...,
  }
  if not pcall(tool.expect, tool, "covered\n") then t.skip "the kernel does not allow new namespaces" end
  return tool
end
local made = not core.file_kind "/usr/lib/debug" and os.execute "mkdir -p /usr/lib/debug"
local done, failure = pcall(function()
  do
    local tool <close> = covered(path "aside", "pack", "--json", description)
    tool:expect '"old_name":"inner"'
    tool:expect_exit(0)
  end
  do
    local tool <close> = covered(path "aside", "livepatchable", "--all", stripped)
    tool:expect "  inner "
    tool:expect_exit(0)
  end
  do
    local tool <close> = covered(path "aside", "post", stripped)
    tool:expect ": 3 merged, 0 already, 0 left alone"
    tool:expect_exit(0)
  end
  local tool <close> = covered(wrong, "pack", description)
  tool:expect "[target.function_missing]"
  tool:expect_exit(1)
end)
if made then os.execute "rmdir /usr/lib/debug" end
if not done then error(failure, 0) end
t.unharmed(c.pid)
