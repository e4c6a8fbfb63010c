-- timeout: 60
-- Every number that SUSE's runtime can answer with, provoked: it has a code, a text and a hint here, and what a failed call
-- leaves behind is taken back, also what the runtime remembers of it. States in which it had disabled itself are told by name.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = require "ulp.suse"
local metadata = t.shared "suse"

local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local good = assert(ulp.container(t.patch "dozens_13"))
local library = p.libs["libdozens.so.0"]
local function bytes(hex) return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)) end
local build_id, address = bytes(library.build_id), good.units[1].old_address
local function serves(number) c:ask("dozen", number .. "\n", {reject = tostring(25 - number)}) end

local pristine = t.text(c.pid, "libdozens.so.0")
--- Sends metadata to the runtime, and looks at what is left.
local function answers(number, part, path)
  part.build_id = part.build_id or build_id
  part.path = part.path or good.path .. "\0"
  local before = #runtime:patches()
  t.eq(runtime:enter("__ulp_trigger", type(path) == "string" and path or metadata.wire(part)).value, number)
  t.eq({runtime:state(), runtime:error_state(), #runtime:patches()}, {"idle", 0, before}, "what " .. number .. " leaves")
  local err = suse.failure(p, runtime, number, "fix.so")
  t.ok(err.message:find(("(%d)"):format(number), 1, true) and err.hint, tostring(err))
  if pristine then t.ok(t.text(c.pid, "libdozens.so.0") == pristine, "the code after " .. number) end
  t.unharmed(c.pid)
  return err.code
end

t.eq(answers(256, {type = 7}), "stage.failed")
t.eq(answers(257, {build_id = "short"}), "target.build_id")
t.eq(answers(266, {path = "\0"}), "container.malformed")
t.eq(answers(266, nil or {}, "\1" .. ("i"):rep(32) .. string.pack("<I4", 900000)), "container.malformed")
t.eq(answers(269, {}, "\0"), "container.no_metadata")
t.eq(answers(270, {units = {{"dozen", "nonesuch", address}}}), "stage.symbols")
t.eq(answers(270, {target = "libnone.so\0", units = {{"dozen", "dozens_13", address}}}), "stage.symbols")
t.eq(answers(272, {type = 2}), "patch.not_applied")
t.eq(answers(273, {dependencies = {("d"):rep(32)}}), "patch.dependency")
t.eq(answers(287, {path = "/nowhere.so\0"}), "stage.failed")
local unopened = suse.failure(p, runtime, 287, "/nowhere.so")
t.ok(unopened.message:find("cannot open shared object file", 1, true), "the loader's reason")
serves(12)

-- Half-way: the first function can be diverted, the second cannot. Neither is, and neither comes into force when a later patch of
-- the first is taken back.
for _ = 1, 2 do
  t.eq(answers(278, {units = {{"dozen", "dozens_13", address}, {"dozen", "dozens_13", address + 3}}}), "entry.not_prepared")
  serves(12)
  pristine = nil
  t.state(ulp.trigger(p, good), "done")
  serves(13)
  t.eq(answers(275, {id = bytes(good.id)}), "operation.busy")
  t.state(ulp.revert(p, good), "done")
  serves(12)
end
-- The very first cannot: nothing is queued, and all the same the original would list the patch and disable itself.
t.eq(answers(278, {units = {{"dozen", "dozens_13", address + 3}}}), "entry.not_prepared")

-- What another patch builds on stays.
t.state(ulp.trigger(p, good), "done")
local other = bytes(good.id):sub(1, 16) .. ("o"):rep(16)
t.eq(runtime:enter("__ulp_trigger", metadata.wire {
  id = other, build_id = build_id, path = good.path .. "\0", dependencies = {bytes(good.id)},
}).value, 0)
t.refused("patch.dependency", function() return ulp.revert(p, good) end)
serves(13)
t.eq(runtime:enter("__ulp_trigger", metadata.wire {type = 2, id = other, build_id = build_id}).value, 0)
t.state(ulp.revert(p, good), "done")
serves(12)
t.eq(runtime:enter("__ulp_revert_all", "libdozens.so.0").value, 284)
t.eq(runtime:enter("__ulp_revert_all", "libnone.so").value, 276)

-- Numbers that come from a state, or from nowhere.
for number = 256, 289 do
  local err = suse.failure(p, runtime, number, "fix.so")
  t.ok(err.code:find "%l+%.%l" and err.hint and err.message:find(("(%d)"):format(number), 1, true), tostring(err))
end
local state = assert(p:symbol "__ulp_error_state")
for number, words in pairs {[280] = "switched off", [256] = "half-way", [285] = "instruction queue", [282] = "282"} do
  p:store(state, "<i4", number)
  local err = t.refused("runtime.disabled", function() return ulp.trigger(p, good) end)
  t.ok(err.message:find(words, 1, true), tostring(err))
  t.eq(runtime:enter("__ulp_trigger", "\1").value, number)
end
p:store(state, "<i4", 0)

-- A queue that waits, left by a tool that died. SUSE's own tool would meet the state 285, for ever.
local queue = assert(p:symbol "__ulp_insn_queue")
local function leave(address_of_write, data)
  local text = string.pack("<I1I3I4I8", 2, 24, #data, address_of_write) .. data .. ("\0"):rep(8 - #data)
  p:write(queue + 16, text)
  p:write(queue, string.pack("<I4I4I4", 1, 1, #text))
end
local entry = library.bias + address
leave(entry, "\x66\x90")
t.eq(runtime:state(), "queued")
t.refused("operation.pending", function() return runtime:enter("__ulp_trigger", "\1") end)
t.eq(runtime:error_state(), 0, "it was not asked, and did not disable itself")
p:store(queue + 8, "<I4", 0)
p:store(queue + 4, "<I4", 0)
leave(entry, "\x66\x90")
p:store(state, "<i4", 285)
t.eq(runtime:state(), "queued")
t.eq(runtime:recover().action, "finished", "the writes are made, and the state is lifted")
t.eq({runtime:state(), runtime:error_state()}, {"idle", 0})
p:store(queue, "<I4", 2)
t.refused("runtime.version", function() return ulp.trigger(p, good) end)
p:store(queue, "<I4", 1)
for _, broken in ipairs {{1, 1, 3000000}, {1, 5, 24}, {1, 1, 8}} do
  p:write(queue, string.pack("<I4I4I4", table.unpack(broken)))
  t.refused("runtime.corrupt", function() return ulp.trigger(p, good) end)
end
p:write(queue, string.pack("<I4I4I4", 1, 0, 0))
t.state(ulp.trigger(p, good), "done", "after all that")
serves(13)
