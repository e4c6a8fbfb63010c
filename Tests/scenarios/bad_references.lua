-- References to what is not there, or to where nothing may be written: named, before anything is loaded.
local t = require "ulp.scenario"
local ulp = require "ulp"
local metadata = t.shared "metadata"

local c <close> = t.target {"caller", t.path "libsecret.so.0"}
local p <close> = assert(ulp.attach(c.pid))

-- In a description: the target's variable, the patch's pointer, and the wrong kind of sign.
for line, code in pairs {
  ["#nonesuch:secret_ref"] = "target.function_missing", ["#secret:nonesuch"] = "container.contradiction",
  ["#%secret:secret_ref"] = "description.syntax",
} do
  local err = t.raises(code, function() return t.patch("secret_2", {as = "unpacked", units = {"peek:peek_2", line}}) end)
  local name = line:match "nonesuch" or "secret"
  t.ok(err.message:find(name, 1, true) and err.line == 4, ("%s is named, with its line: %s"):format(name, err.message))
end

-- By hand.
local good = t.patch "secret_2"
local record = assert(ulp.container(good))
local units = {metadata.unit("peek", "peek_2", record.units[1].old_address)}
local secret, pointer
for _, reference in ipairs(record.references) do
  if reference.name == "secret_ref" then secret, pointer = reference.target_offset, reference.patch_offset end
end
t.ok(secret and pointer, "the good references are known")
local number = 0
--- A container with one reference, changed by hand.
local function made(...)
  number = number + 1
  return metadata.rewrite(t.patch("secret_2", {as = "made" .. number}), units, {metadata.reference(...)})
end
for what, container in pairs {
  ["a pointer that is missing"] = made("secret", "nonesuch", secret, 0),
  ["a pointer in the code"] = made("secret", "peek_2", secret, record.units[1].old_address),
  ["a pointer behind the end"] = made("secret", "secret_ref", secret, 1 << 40),
  ["a pair where only a pointer is"] = made("secret", "secret_ref", secret, pointer & ~0xfff | 0xffc, true),
} do
  local snapshot = t.snapshot(c.pid)
  local err = t.raises("container.contradiction", function() return ulp.container(container) end)
  t.ok(err.message:find("nonesuch", 1, true) or err.message:find("peek_2", 1, true) or err.message:find("secret_ref", 1, true),
    what .. ": " .. err.message)
  t.refused("container.contradiction", function() return ulp.trigger(p, container) end)
  t.unchanged(c.pid, snapshot)
end
-- Where the target has nothing: only the process can tell.
for _, offset in ipairs {1 << 40, -1, 1 << 62} do
  local snapshot = t.snapshot(c.pid)
  local done, result = pcall(ulp.trigger, p, made("secret", "secret_ref", offset, pointer))
  t.ok(not done and result.code and result.hint, ("an offset of %#x: %s"):format(offset, result.message or result.state))
  t.unchanged(c.pid, snapshot)
end
c:ask("peek", "peek=40\n", {reject = "peek=1040"})
t.state(ulp.trigger(p, good), "done", "the good one")
c:ask("peek", "peek=1040\n", {reject = "peek=40\n"})
t.state(ulp.revert(p, good), "done")
c:ask("peek", "peek=40\n", {reject = "peek=1040"})
