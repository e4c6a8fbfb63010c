-- A patch that depends on others is applied after them or together with them, and by SUSE's tool after them; else it is refused
-- with the missing one's id.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local base = t.patch "dozens_13"
assert(ulp.pack(base:gsub("%.so$", ".dsc"), {metadata = t.directory() .. "/base.ulp"}))
local id = assert(ulp.container(base)).id

local container = t.write_file(t.directory() .. "/dependent.so", t.read_file(t.path "hundreds_200.so"))
local description = t.write_file(t.directory() .. "/dependent.dsc", ("%s\n*%s/base.ulp\n@%s\nhundred:hundreds_200\n"):format(
  container, t.directory(), t.path "libhundreds.so.0"))
local dependent = assert(ulp.pack(description)).path
t.eq(assert(ulp.dump(dependent)).dependencies, {id}, "what it depends on")

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end
local function refused()
  local before = t.snapshot(c.pid)
  local said = t.refused("patch.dependency", function() return ulp.trigger(p, dependent) end)
  t.eq(said.id, id)
  t.ok(said.message:find(id:sub(1, 16), 1, true) and said.message:find(dependent, 1, true), said.message)
  suse.expect("EDEPEND", "trigger", c.pid, dependent)
  t.unchanged(c.pid, before)
end

serves(12, 100)
refused()
t.state(ulp.trigger(p, {dependent, base}), "done", "together")
serves(13, 200)
t.state(ulp.revert(p, {base, dependent}), "done")
refused()
t.state(ulp.trigger(p, base), "done")
t.state(ulp.trigger(p, dependent), "done", "one after the other")
serves(13, 200)
t.state(ulp.revert(p, dependent), "done")
suse.trigger(c, dependent)
serves(13, 200)
suse.expect("ENONE", "revert-all", c.pid, "libhundreds.so.0")
t.state(ulp.revert(p, base), "done")
serves(12, 100)
refused()

-- On SUSE's runtime ulpsh looks by itself.
do
  local d <close> = t.target {"numserv", preload = t.path "suse/libpulp.so"}
  t.refused("patch.dependency", function() return ulp.trigger(d.pid, dependent) end)
  d:ask("hundred", "100\n", {reject = "200"})
  t.state(ulp.trigger(d.pid, base), "done")
  t.state(ulp.trigger(d.pid, dependent), "done")
  d:ask("hundred", "200\n", {reject = "100"})
end
