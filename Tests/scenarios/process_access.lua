-- A patch reads a private variable of the main program, linked at a fixed address or not, found or at given offsets.
local t = require "ulp.scenario"
local ulp = require "ulp"
local references = t.shared "references"

for _, program in ipairs {"teller", "teller_fixed"} do
  local line = references.explicit("#", program, "secret", "teller_2.so", "secret_ref")
  for _, reference in ipairs {"#secret:secret_ref", line} do
    local fix = t.patch("teller_2", {target = t.path(program), units = {"tell:tell_2", reference}})
    local c <close> = t.target(program)
    local p <close> = assert(ulp.attach(c.pid))
    c:ask("tell", "tell=40\n", {reject = "tell=1040"})
    t.state(ulp.trigger(p, fix), "done", line)
    c:ask("tell", "tell=1040\n", {reject = "tell=40"})
    c:ask("grow", "grown=41\n")
    c:ask("tell", "tell=1041\n", {reject = "tell=41"})
    t.unharmed(c.pid)
    t.state(ulp.revert(p, fix), "done", line)
    c:ask("tell", "tell=41\n", {reject = "tell=1041"})
    t.unharmed(c.pid)
  end
end
