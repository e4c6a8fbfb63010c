-- A patch reads a private variable of the library, found by the packer or at offsets that the description gives.
local t = require "ulp.scenario"
local ulp = require "ulp"
local references = t.shared "references"

local function explicit(variable, pointer) return references.explicit("#", "libsecret.so.0", variable, "secret_2.so", pointer) end
local ways = {
  omitted = t.patch("secret_2", {as = "omitted"}),
  explicit = t.patch("secret_2", {as = "explicit", units = {
    "peek:peek_2", "blended:blended_2", explicit("secret", "secret_ref"), explicit("blend", "blend_ref"),
  }}),
}
t.eq(#assert(ulp.container(ways.explicit)).references, 2)
t.eq(assert(ulp.container(ways.explicit)).references, assert(ulp.container(ways.omitted)).references)

for way, fix in pairs(ways) do
  local c <close> = t.target {"caller", t.path "libsecret.so.0"}
  local p <close> = assert(ulp.attach(c.pid))
  local function serves(secret, is_patched)
    local extra = is_patched and 1000 or 0
    c:ask("peek", ("peek=%d\n"):format(secret + extra), {reject = ("peek=%d\n"):format(secret + 1000 - extra)})
    c:ask("blended", ("blended=%d\n"):format(2 * secret + extra))
    t.unharmed(c.pid)
  end
  serves(40, false)
  for round = 0, 1 do
    t.state(ulp.trigger(p, fix), "done", way)
    serves(40 + round, true)
    -- It is the library's variable, not a copy.
    c:ask("grow", ("grow=%d\n"):format(41 + round))
    serves(41 + round, true)
    t.state(ulp.revert(p, fix), "done", way)
    serves(41 + round, false)
  end
end
