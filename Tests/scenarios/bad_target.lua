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

-- One that names a function which the library does not have, made by hand.
local patch = t.patch("dozens_13", {as = "renamed"})
local bytes = t.read_file(patch)
local at = assert(bytes:find("dozen\0", 1, true), "the old name is in the metadata")
local last
repeat last, at = at, bytes:find("dozen\0", at + 1, true) until not at
t.write_file(patch, bytes:sub(1, last - 1) .. "nozen\0" .. bytes:sub(last + 6))
t.ok(t.refused("target.function_missing", function()
  return ulp.trigger(assert(ulp.attach(c.pid)), assert(ulp.container(patch)))
end).message:find("nozen", 1, true), "the function is named")
bad.still_works(c)
