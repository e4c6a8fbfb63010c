-- A patch that imports what the process does not export is refused with every name before anything is loaded; it can be tried
-- again, and a pointer to the hidden function works.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"

local c <close> = t.target {"caller", t.path "libsecret.so.0"}
local p <close> = assert(ulp.attach(c.pid))
local imports, points = t.patch "secret_import", t.patch "secret_2"

local function serves(extra)
  c:ask("peek", ("peek=%d\n"):format(40 + extra), {reject = ("peek=%d\n"):format(1040 - extra)})
  c:ask("blended", ("blended=%d\n"):format(80 + extra), {reject = ("blended=%d\n"):format(1080 - extra)})
  t.unharmed(c.pid)
end
local function refused()
  local said = bad.refuses(c, imports, "container.unresolved")
  for _, name in ipairs {"blend", "nonesuch", "secret_import.so"} do
    t.ok(said.message:find(name, 1, true), ("%s is named in: %s"):format(name, said.message))
  end
  t.eq(#said.symbols, 2)
end

serves(0)
refused()
refused()
serves(0)
t.state(ulp.trigger(p, points), "done", "with a pointer")
serves(1000)
refused()
serves(1000)
t.state(ulp.revert(p, points), "done")
serves(0)

-- What the patch brings along may define the rest, so that only the loader can tell; its words are passed on.
local brings = t.cc {
  code = "int nonesuch(void); int number(void); int peek_2(void) { return nonesuch() + number(); }", as = "brings.so",
  target = t.path "libsecret.so.0", units = {peek = "peek_2"}, libraries = {t.path "libnumber.so.0"}, undefined = "allow",
}
for _ = 1, 2 do
  local said = bad.refuses(c, brings, "stage.failed")
  t.ok(said.message:find("nonesuch", 1, true), "the loader's words: " .. said.message)
end
serves(0)
local complete = t.cc {
  code = "int number(void); int peek_2(void) { return 1039 + number(); }", as = "complete.so",
  target = t.path "libsecret.so.0", units = {peek = "peek_2"}, libraries = {t.path "libnumber.so.0"},
}
t.state(ulp.trigger(p, complete), "done", "with a library of its own")
c:ask("peek", "peek=1040\n", {reject = "peek=40\n"})
t.state(ulp.revert(p, complete), "done")
serves(0)
