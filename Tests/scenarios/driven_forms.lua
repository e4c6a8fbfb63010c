-- timeout: 120
-- What SUSE's tool patches: every form of entry, functions and variables of a program itself, thread-local variables.
local t = require "ulp.scenario"
local suse = t.shared "suse"

-- Entries with and without endbr64, wide paddings, merged nops: set off, taken back, set off again
for _, form in ipairs {"number", "number_endbr", "number_wide", "number_wide_endbr", "number_two_byte"} do
  local c <close> = t.target {"caller", t.path("lib" .. form .. ".so.0")}
  local fix, other = t.patch(form .. "_2"), t.patch(form .. "_3")
  c:ask("number", "number=1\n")
  for _ = 1, 2 do
    suse.trigger(c, fix)
    c:ask("number", "number=2\n", {reject = "number=1"})
    suse.trigger(c, other)
    c:ask("number", "number=3\n", {reject = {"number=1", "number=2"}})
    suse.revert(c, other)
    c:ask("number", "number=2\n", {reject = {"number=1", "number=3"}})
    suse.revert(c, fix)
    c:ask("number", "number=1\n", {reject = {"number=2", "number=3"}})
  end
  t.unharmed(c.pid)
end

-- A library that is not prepared: 278
do
  local c <close> = t.target {"caller", t.path "libnumber_unprepared.so.0"}
  local fix = t.patch("number_unprepared_2", {target = t.path "other/libnumber_unprepared.so.0"})
  suse.expect("ENOPATCHABLE", "trigger", c.pid, fix)
  c:ask("number", "number=1\n", {reject = "number=2"})
  t.unharmed(c.pid)
end

-- The program's own function reads its own static variable; position-independent, at a fixed address, with three notes
for _, program in ipairs {"teller", "teller_fixed", "teller_notes"} do
  local c <close> = t.target {program}
  local fix = t.patch("teller_2", {target = t.path(program)})
  c:ask("tell", "tell=40\n")
  suse.trigger(c, fix)
  c:ask("tell", "tell=1040\n", {reject = "tell=40"})
  c:ask("grow", "grown=41\n")
  c:ask("tell", "tell=1041\n")
  suse.revert(c, fix)
  c:ask("tell", "tell=41\n", {reject = "tell=1041"})
  t.unharmed(c.pid)
end

-- Another build of the library: the tool finds it out, and so does the runtime when the tool does not look
do
  local c <close> = t.target {"caller", t.path "other/libdozens.so.0"}
  local fix = t.patch "dozens_13"
  suse.expect("EBUILDID", "trigger", c.pid, fix)
  suse.expect("EBUILDID", "--unchecked", "trigger", c.pid, fix)
  c:ask("dozen", "dozen=", {reject = "dozen=13"})
  t.unharmed(c.pid)
end

-- A prefix is seen in the loader's message
do
  local c <close> = t.target "numserv"
  suse.expect("EDLOPEN", "-R", "/no/such/root", "trigger", c.pid, t.patch "dozens_13")
  t.ok(suse.run("messages", c.pid).text:find("/no/such/root", 1, true), "the path with its prefix")
  suse.trigger(c, t.patch "dozens_13")
  c:ask("dozen", "13\n", {reject = "12"})
end
