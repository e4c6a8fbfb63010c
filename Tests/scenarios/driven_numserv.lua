-- timeout: 60
-- SUSE's tool patches two libraries one after the other, checks, lists and reverts them; ulpsh sees the same at each step.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end

serves(12, 100)
t.ok(not suse.applied(c, dozens), "not applied before")
local descriptors = #assert(t.snapshot(c.pid).descriptors)

-- One row of writes: everything armed before the universe, and the universe is the last.
local first = suse.expect("ENONE", "--show", "trigger", c.pid, dozens)
local before = p:runtime():universe()
t.ok(#first.writes >= 4, "paddings, points, list and universe")
local last = first.writes[#first.writes]
t.eq(last.size, 8, "the last write is one aligned word")
t.eq(last.address % 8, 0, "the last write is one aligned word")
local bytes = last.data:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
t.eq((string.unpack("<I8", bytes)), before, "the universe")
t.eq(first.writes[1].size, 14, "a padding first")
t.eq(first.writes[2].data, "ebf0", "then the two bytes at the entry")

serves(13, 100)
t.ok(suse.applied(c, dozens), "applied")
t.ok(not suse.applied(c, hundreds), "the other one is not applied")
t.state(ulp.check(p, dozens), "done", "ulpsh sees it")
t.eq(suse.list(c), "libdozens.so.0:dozens_13.so", "the list")

suse.trigger(c, hundreds)
serves(13, 200)
t.eq(suse.list(c), "libhundreds.so.0:hundreds_200.so libdozens.so.0:dozens_13.so", "newest first")
t.eq(#ulp.patches(p), 2, "ulpsh lists both")

suse.revert(c, dozens)
serves(12, 200)
t.ok(not suse.applied(c, dozens), "reverted")
suse.revert(c, hundreds)
serves(12, 100)
t.eq(suse.list(c), "", "the list is empty")
t.eq(#ulp.patches(p), 0, "for ulpsh as well")
suse.expect("ENOTAPPLIED", "--revert", "trigger", c.pid, hundreds)
serves(12, 100)

-- Many times: the container stays loaded, and one block is enough for it.
for _ = 1, 20 do
  suse.trigger(c, dozens)
  suse.revert(c, dozens)
end
serves(12, 100)
t.state(ulp.trigger(p, dozens), "done", "ulpsh after SUSE's tool")
serves(13, 100)
t.state(ulp.revert(p, dozens), "done")
serves(12, 100)
t.ok(#assert(p:runtime()):patches() <= 3, "blocks do not pile up")
t.eq(#t.snapshot(c.pid).descriptors, descriptors, "no descriptor is left open")
c:send "quit\n"
c:expect "bye\n"
c:expect_exit(0)
