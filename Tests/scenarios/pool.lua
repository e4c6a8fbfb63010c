-- timeout: 60
-- When fewer stubs are free than functions are to be switched the change is refused by name and nothing has changed; the last
-- free stub is good, and every change gives its stubs back.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end

-- `struct pulp_slot`: since, new_target, old_target, entry; its array is in `__ulp_ext` (pulp_abi.h).
local count, size = 8192, 32
local slots = p:unpack(assert(p:symbol "__ulp_ext") + 40, "<I8")
local free, taken = ("\0"):rep(size), string.pack("<i8I8I8I8", -1, 4096, 4096, 4096)
local function is_free(index) return p:read(slots + size * index, size) == free end

t.state(ulp.trigger(p, {dozens, hundreds}), "done")
serves(13, 200)
t.state(ulp.revert(p, {dozens, hundreds}), "done")
t.eq(p:read(slots, size * count), free:rep(count), "after settling no stub is taken")

-- One stub left, for two functions.
p:write(slots, taken:rep(count - 1))
local before = t.snapshot(c.pid)
local refusal = t.refused("pool.full", function() return ulp.trigger(p, {dozens, hundreds}) end)
t.ok(refusal.message:find "full", refusal.message)
t.unchanged(c.pid, before)
t.ok(is_free(count - 1), "the last stub is still free")
t.eq(assert(p:runtime()):state(), "idle")
serves(12, 100)
t.state(ulp.trigger(p, dozens), "done", "the last stub")
serves(13, 100)
t.state(ulp.trigger(p, hundreds), "done", "the same stub again")
serves(13, 200)

-- None left: not even a revert, and what is in force stays so.
p:write(slots + size * (count - 1), taken)
before = t.snapshot(c.pid)
t.refused("pool.full", function() return ulp.revert(p, dozens) end)
t.unchanged(c.pid, before)
serves(13, 200)
t.state(ulp.check(p, dozens), "done")
p:write(slots, free:rep(count))
t.state(ulp.revert(p, {dozens, hundreds}), "done")
serves(12, 100)
