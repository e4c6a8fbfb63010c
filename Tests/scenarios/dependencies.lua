-- A patch that depends on others is applied after them or together with them, and by SUSE's tool after them; else it is refused
-- with the missing one's id. While it is in force those others cannot be reverted by either tool, whoever has applied it.
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
--- The other patch stays as long as the dependent one is there.
local function held()
  serves(13, 200)
  local said = t.refused("patch.dependency", function() return ulp.revert(p, base) end)
  t.ok(said.message:find(dependent, 1, true) and said.hint:find "revert that one first", tostring(said))
  t.refused("patch.dependency", function() return ulp.revert_all(p, "libdozens.so.0") end)
  for _, words in ipairs {{"--revert", "trigger", c.pid, base}, {"revert-all", c.pid, "libdozens.so.0"}} do
    suse.expect("EDEPEND", table.unpack(words))
    t.ok(suse.run("messages", c.pid).text:find(dependent .. " is in force and depends on " .. id, 1, true), "the reason")
  end
  serves(13, 200)
end
t.state(ulp.trigger(p, dependent), "done", "one after the other")
held()
t.state(ulp.revert(p, dependent), "done")
suse.trigger(c, dependent)
held()
local other = t.patch("dozens_13", {as = "other", units = {"! another", "dozen:dozens_13"}})
t.refused("patch.dependency", function() return ulp.replace(p, "libdozens.so.0", other) end)
held()
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
  local said = t.refused("patch.dependency", function() return ulp.revert(d.pid, base) end)
  t.ok(said.hint:find "revert the patch that depends on it first", said.hint)
  d:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(d.pid, {base, dependent}), "done", "both together")
  d:ask("hundred", "100\n", {reject = "200"})
  t.state(ulp.trigger(d.pid, {dependent, base}), "done", "both together, the one that is needed named last")
  d:ask("hundred", "200\n", {reject = "100"})
  t.state(ulp.revert(d.pid, {base, dependent}), "done")
  d:ask("dozen", "12\n", {reject = "13"})
end
