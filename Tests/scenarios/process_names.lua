-- The program as target is found by its file's name: one longer than the kernel's 15 characters, a process that calls itself
-- otherwise, a file that was removed or replaced while it ran; position-independent and at a fixed address.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local source = [[
  #include <stdio.h>
  #include <string.h>
  #include <sys/prctl.h>
  __attribute__((noinline)) int tell(void) { return 40; }
  int main(void) {
    char word[64];
    setvbuf(stdout, NULL, _IONBF, 0);
    for (puts("ready"); scanf("%63s", word) == 1;) {
      if (strncmp(word, "call-me-", 8) == 0) prctl(PR_SET_NAME, word + 8);
      printf("tell=%d\n", tell());
    }
  }
]]
local fix = "int tell_2(void) { return 41; }"

for form, arguments in pairs {
  pie = {link = {"-pie"}, flags = {"-fPIE"}}, fixed = {link = {"-no-pie"}, flags = {"-fno-pie"}},
} do
  local built = t.cc {
    kind = "program", as = "a-program-with-a-long-name-" .. form, code = source, link = arguments.link, flags = arguments.flags,
  }
  local program = t.write_file(t.directory() .. "/" .. built:match "[^/]*$", t.read_file(built))
  assert(os.execute(("chmod +x %q"):format(program)))
  local patch = t.cc {as = form .. "_2.so", target = program, code = fix, units = {tell = "tell_2"}}
  t.eq(assert(ulp.container(patch)).target, program:match "[^/]*$", "the whole name")

  local c <close> = t.target {program, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local function tells(number, word)
    c:ask(word or "tell", ("tell=%d\n"):format(number), {reject = "tell=" .. 81 - number})
    t.unharmed(c.pid)
  end
  local function there_and_back(what)
    tells(40)
    t.state(ulp.trigger(c.pid, patch), "done", form .. " " .. what)
    tells(41)
    t.state(ulp.check(c.pid, patch), "done", form .. " " .. what)
    t.state(ulp.revert(c.pid, patch), "done", form .. " " .. what)
    tells(40)
  end
  there_and_back "as it was started"
  tells(40, "call-me-somebody_else")
  t.eq(assert(ulp.attach(c.pid)).comm, "somebody_else")
  there_and_back "under another name"
  -- By file, without -p: the command line finds it, too.
  local tool <close> = t.ulpsh {"trigger", patch, timeout = 20}
  tool:expect("somebody_else[" .. c.pid .. "]: done")
  tool:expect_exit(0)
  tells(41)
  t.state(ulp.revert(p, patch), "done")
  -- A package that was brought up to date leaves the old program running.
  assert(os.remove(program))
  there_and_back "after its file was removed"
  t.write_file(program, "another file")
  there_and_back "after its file was replaced"
  core.remove_tree(program)
end
