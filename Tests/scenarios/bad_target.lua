-- Patches for another library, another build, or a function that is not there.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"

local c <close> = t.target "numserv"
bad.refuses(c, t.patch "version_1", "target.not_loaded")
local other = t.patch("dozens_13", {target = t.path "other/libdozens.so.0", as = "other"})
local said = bad.refuses(c, other, "target.build_id")
t.ok(said.message:find("libdozens.so.0", 1, true), "the library is named")

-- Such a patch cannot even be packed.
t.refused("target.function_missing", function()
  return t.patch("dozens_13", {units = {"nonesuch:dozens_13"}, as = "none"})
end)

-- Made by hand: one that names a function which the library does not have, without an address and with one that is no code.
local function spoilt(as, address, name)
  local patch, section = t.patch("dozens_13", {as = as}), t.directory() .. "/section"
  local function objcopy(option)
    local child <close> = t.spawn {"objcopy", option, ".ulp=" .. section, patch}
    child:expect_exit(0)
  end
  objcopy "--dump-section"
  local metadata, old = t.read_file(section), string.pack("<I8", assert(ulp.container(patch)).units[1].old_address)
  local at = t.ok(metadata:find(old, 1, true), "the old address is in the metadata")
  metadata = metadata:sub(1, at - 1) .. string.pack("<I8", address) .. metadata:sub(at + 8)
  local changed, count = metadata:gsub("dozen%f[%z]", name)
  t.eq(count, 1, "the old name is in the metadata")
  t.write_file(section, changed)
  objcopy "--update-section"
  return patch
end

said = bad.refuses(c, spoilt("renamed", 0, "nozen"), "target.function_missing")
t.ok(said.message:find("nozen", 1, true), "the function is named")
bad.refuses(c, spoilt("moved", 0x10000000, "nozen"), "target.function_missing")
bad.still_works(c)
