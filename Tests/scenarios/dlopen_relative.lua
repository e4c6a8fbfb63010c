-- With the runtime loaded, dlopen of a relative path means what it meant; the library that was opened so can be patched.
local t = require "ulp.scenario"
local ulp = require "ulp"

local here = t.path "."
for _, path in ipairs {"./libnumber.so.0", "other/../libnumber.so.0", "libnumber.so.0"} do
  local env = path:find "/" and {} or {LD_LIBRARY_PATH = "."}
  local c <close> = t.target {"caller", path, cwd = here, env = env}
  local p <close> = assert(ulp.attach(c.pid))
  c:ask("number", "number=1\n", {reject = "number=2"})
  local fix = t.patch("number_2", {as = "fix"})
  t.state(ulp.trigger(p, fix), "done", path)
  c:ask("number", "number=2\n", {reject = "number=1"})
  t.state(ulp.revert(p, fix), "done", path)
  c:ask("number", "number=1\n", {reject = "number=2"})
  t.unharmed(c.pid)
end

-- What is not there is not there.
for _, preload in ipairs {true, false} do
  local c <close> = t.spawn {t.path "caller", "./libnone.so.0", cwd = here, preload = preload}
  c:expect "./libnone.so.0: cannot open shared object file"
  c:expect_exit(2)
end
