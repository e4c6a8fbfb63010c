-- timeout: 60
-- A container that asks for executable stacks is refused before anything is touched: glibc would make the stacks of all threads
-- writable and executable, and leave them so.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function stacks(pid)
  local found = {}
  for line in io.lines(("/proc/%d/maps"):format(pid)) do
    if line:find " rwx" then found[#found + 1] = line end
  end
  return found
end

local library = t.path "libdozens.so.0"
local code = "int dozen_2(void) { return 13; }"
local asking = t.cc {as = "asking.so", target = library, units = {dozen = "dozen_2"}, code = code, link = {"-z", "execstack"}}
local plain = t.cc {as = "plain.so", target = library, units = {dozen = "dozen_2"}, code = code, link = {"-z", "noexecstack"}}
for _, deliver in ipairs {"path", "memfd"} do
  local c <close> = t.target {"numserv", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local before = t.snapshot(c.pid)
  t.refused("container.executable_stack", function() return ulp.trigger(p, asking, {deliver = deliver}) end)
  t.eq(stacks(c.pid), {}, "mappings that are writable and executable")
  t.unchanged(c.pid, before)
  t.eq(p:runtime():state(), "idle")
  t.state(ulp.trigger(p, plain, {deliver = deliver}), "done")
  c:ask("dozen", "13\n", {reject = "12"})
  t.eq(stacks(c.pid), {}, "mappings that are writable and executable")
end
