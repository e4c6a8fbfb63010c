-- timeout: 60
-- Memory laid out otherwise than usual: without randomisation, with the old layout of an unlimited stack, and as a static
-- program that moves: patched and reverted at the first command, or refused by name.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"

local fix = t.patch "dozens_13"
local program = t.path "numserv"

local function where(pid)
  local maps = t.read_file(("/proc/%d/maps"):format(pid))
  return tonumber(maps:match "(%x+)%-%x+ [^\n]*/numserv", 16), tonumber(maps:match "(%x+)%-%x+ [^\n]*/libdozens", 16), maps
end

local function there_and_back(what, command, check)
  command.preload, command.timeout = true, 20
  local c <close> = t.spawn(command)
  c:expect "ready\n"
  check(c.pid)
  local p <close> = assert(ulp.attach(c.pid))
  t.switches(p, fix, {old = "12\n", new = "13\n"}, function(expected, rejected)
    c:ask("dozen", expected, {reject = rejected})
  end)
  t.eq(#ulp.patches(p), 0, what)
end

there_and_back("without randomisation", {"setarch", "-R", program}, function(pid)
  t.eq(where(pid), 0x555555554000, "the place that the kernel gives every program (ELF_ET_DYN_BASE)")
end)

-- mmap(2) then begins at the bottom and goes up, below the program itself.
there_and_back("the old layout", {"sh", "-c", 'ulimit -s unlimited && exec "$0"', program}, function(pid)
  local own, library = where(pid)
  t.ok(library < own, "libraries lie below the program")
end)
there_and_back("both", {"setarch", "-R", "--addr-compat-layout", program}, function(pid)
  local own, library = where(pid)
  t.ok(library < own, "libraries lie below the program")
end)

do -- It has a dynamic section and moves, but there is no loader in it.
  local static = t.cc {kind = "program", as = "static_pie", link = {"-static-pie"}, flags = {"-fPIE"}, code = [[
    #include <stdio.h>
    int main(void) {
      char word[64];
      setvbuf(stdout, NULL, _IONBF, 0);
      for (puts("ready"); scanf("%63s", word) == 1;) puts("still here");
    }
  ]]}
  local c <close> = t.target {static, preload = false}
  bad.refuses(c, fix, "process.static")
  c:ask("x", "still here\n")
end

do -- Its loader was called by name, with the program as an argument: nobody calls that static.
  local loader = assert(t.read_file(program):match "/[%w/_.-]*ld%-linux[%w.-]*")
  local c <close> = t.spawn {loader, t.path "numserv", preload = true, timeout = 20}
  c:expect "ready"
  local said = bad.refuses(c, fix, "process.static")
  t.ok(said.message:find("by calling its loader", 1, true), said.message)
  t.ok(said.hint:find("own name", 1, true), said.hint)
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

do -- A loader that is not glibc's: named as such, whatever it can do.
  local copy = t.directory() .. "/ld-other.so.1"
  local loader = assert(t.read_file(program):match "/[%w/_.-]*ld%-linux[%w.-]*")
  t.write_file(copy, t.read_file(loader))
  assert(os.execute(("chmod +x %q"):format(copy)))
  local other = t.cc {kind = "program", as = "other_loader", link = {"-Wl,--dynamic-linker=" .. copy}, code = [[
    #include <stdio.h>
    int main(void) {
      char word[64];
      setvbuf(stdout, NULL, _IONBF, 0);
      for (puts("ready"); scanf("%63s", word) == 1;) puts("still here");
    }
  ]]}
  local c <close> = t.target {other, preload = false}
  local said = bad.refuses(c, fix, "process.foreign_loader")
  t.ok(said.message:find("ld-other.so.1", 1, true), said.message)
  c:ask("x", "still here\n")
end
