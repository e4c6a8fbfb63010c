-- One function replaced twice, by one container or by two of a set, and metadata that contradicts the library.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"
local metadata = t.shared "metadata"

local c <close> = t.target "numserv"
local good = t.patch "dozens_13"
local address = assert(ulp.container(good)).units[1].old_address
local unit = metadata.unit("dozen", "dozens_13", address)

local function refused(code, container, ...)
  local snapshot = t.snapshot(c.pid)
  local said = t.refused(code, function() return ulp.trigger(c.pid, container) end)
  for _, name in ipairs {...} do t.ok(said.message:find(name, 1, true), ("%s is named in: %s"):format(name, said.message)) end
  t.unchanged(c.pid, snapshot)
end

-- In a description, and by hand: by the same name, and by the same address under another name.
local err = t.raises("container.duplicate", function()
  return t.patch("dozens_13", {as = "twice", units = {"dozen:dozens_13", "dozen:dozens_13"}})
end)
t.ok(err.message:find "dozen" and err.line == 4, "named, with its line: " .. err.message)
refused("container.duplicate", metadata.rewrite(t.patch("dozens_13", {as = "names"}), {unit, unit}), "dozen", "names.so")
refused("container.duplicate", metadata.rewrite(t.patch("dozens_13", {as = "addresses"}), {
  unit, metadata.unit("gross", "dozens_13", address),
}), "addresses.so")

-- In two containers of one set, under different names of the patch.
local other = t.patch("dozens_13", {as = "other", units = {"dozen:dozens_13", "! another"}})
refused("container.duplicate", {good, other}, "dozen", "dozens_13.so", "other.so")

-- An address that is another function's, or no function's at all.
local gross = t.shared "references".offset("libdozens.so.0", "gross")
for _, wrong in ipairs {gross, address + 1, 0x40} do
  local container = metadata.rewrite(t.patch("dozens_13", {as = "moved"}), {metadata.unit("dozen", "dozens_13", wrong)})
  local snapshot = t.snapshot(c.pid)
  local done, result = pcall(ulp.trigger, c.pid, container)
  local said = result.message or result.state
  t.ok(not done and result.code and said:find "dozen", ("address %#x: %s"):format(wrong, said))
  t.unchanged(c.pid, snapshot)
end

-- Another target name here than in the metadata for reverting.
local swapped = metadata.read(good):gsub("\15\0\0\0libdozens", "\17\0\0\0libhundreds", 1)
refused("container.contradiction", metadata.write(t.patch("dozens_13", {as = "swapped"}), swapped), "swapped.so")
bad.still_works(c)
