-- A patch whose new function is missing, hidden or no function is neither packed nor loaded, and the function is named.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"
local metadata = t.shared "metadata"

local c <close> = t.target "numserv"
local good = t.patch "dozens_13"
local address = assert(ulp.container(good)).units[1].old_address
local before = t.read_file(good)

-- The packer leaves the file as it was.
local err = t.raises("container.contradiction", function()
  return t.patch("dozens_13", {as = "unpacked", units = {"dozen:dozens_14"}})
end)
t.ok(err.message:find("dozens_14", 1, true), "the function is named: " .. err.message)
t.raises("container.no_metadata", function() return ulp.container(t.directory() .. "/unpacked.so") end)
t.raises("container.contradiction", function()
  return ulp.cc {
    code = "__attribute__((visibility(\"hidden\"))) int concealed(void) { return 13; } int data = 13;",
    target = t.path "libdozens.so.0", units = {dozen = "concealed"},
  }
end)

-- By hand: one that is missing, one that is data.
local holder = t.cc {
  code = "int dozens_13(void) { return 13; } int data = 13;", as = "holder.so", target = t.path "libdozens.so.0",
  units = {dozen = "dozens_13"},
}
for _, name in ipairs {"dozens_14", "data", ""} do
  metadata.rewrite(holder, {metadata.unit("dozen", name, address)})
  local code = name == "" and "container.malformed" or "container.contradiction"
  local snapshot = t.snapshot(c.pid)
  local said = t.raises(code, function() return ulp.container(holder) end)
  t.ok(name == "" or said.message:find(name, 1, true), "the function is named: " .. said.message)
  t.raises(code, function() return ulp.trigger(c.pid, holder) end)
  t.unchanged(c.pid, snapshot)
end
t.ok(t.read_file(good) == before, "the good one is untouched")
bad.still_works(c)
