-- Two libraries, patched one after the other: each patch changes its own and leaves the other alone.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end

serves(12, 100)
local before = t.snapshot(c.pid)

local result = t.state(ulp.trigger(p, dozens), "done", "first patch")
t.ok(result.pause_us and result.pause_us >= 0, "pause_us is told")
t.ok(result.carrier_us and result.carrier_us >= 0, "carrier_us is told")
serves(13, 100)
t.state(ulp.check(p, dozens), "done")
t.ok(ulp.check(p, hundreds).state ~= "done", "the other one is not applied")

t.state(ulp.trigger(p, hundreds), "done", "second patch")
serves(13, 200)
t.eq(#ulp.patches(p), 2, "applied patches")

t.state(ulp.trigger(p, dozens), "already", "the same again")
serves(13, 200)

t.state(ulp.revert(p, dozens), "done", "first back")
serves(12, 200)
t.state(ulp.revert(p, hundreds), "done", "second back")
serves(12, 100)
t.eq(#ulp.patches(p), 0, "applied patches")

-- The entry bytes are back; what the runtime may keep (a neutral padding) lies before the entries.
for _, library in ipairs {"libdozens.so.0", "libhundreds.so.0"} do
  t.eq(#t.text(c.pid, library), #before.text[library], "size of the text")
end
c:send "quit\n"
c:expect "bye\n"
c:expect_exit(0)
