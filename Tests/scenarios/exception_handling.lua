-- timeout: 180
-- C++ exceptions fly through old and new functions: thrown in the replacement, caught in the program, rethrown, cleaned up after.
local t = require "ulp.scenario"

local sources = t.here .. "/../targets/"
local library = t.cc {kind = "library", as = "libthrower", source = sources .. "libraries/libthrower.cc"}
local program = t.cc {kind = "program", as = "catcher", libraries = {library}, source = sources .. "programs/catcher.cc"}
local function patch(name) return t.cc {as = name .. ".so", target = library, source = sources .. "patches/" .. name .. ".cc"} end
local throws, passes = patch "thrower_throws", patch "thrower_passes"

local c <close> = t.target {program}
--- Asks for a call of each kind; an exception's way is told by the objects that were destroyed on it.
local function shows(new, old)
  for _, line in ipairs(new) do
    local rejected = {}
    for _, other in ipairs(old) do if other ~= line then rejected[#rejected + 1] = other end end
    c:ask(line:match "^%a+", line .. "\n", {reject = rejected})
  end
end

local old = {
  "source: caught length_error 1, left 0, pending 0.", "through: caught length_error 1, left 2, pending 0.",
  "again: caught domain_error 2, left 3, pending 0.", "quiet: returned 5, left 0, pending 0.",
}
-- The function that throws is replaced: another type, another text, and one throws that did not.
t.switches(c, throws, {old = old, new = {
  "source: caught invalid_argument 11, left 0, pending 0.", "through: caught invalid_argument 11, left 2, pending 0.",
  "again: caught domain_error 12, left 3, pending 0.", "quiet: caught own 13, left 1, pending 0.",
}}, shows)
-- The functions on the way are replaced, the thrower is not: the stack is unwound through the patch's frames.
t.switches(c, passes, {old = old, new = {
  "source: caught length_error 1, left 0, pending 0.", "through: caught length_error 1, left 20, pending 0.",
  "again: caught range_error 22, left 30, pending 0.", "quiet: returned 5, left 0, pending 0.",
}}, shows)
-- Both.
t.switches(c, {throws, passes}, {old = old, new = {
  "source: caught invalid_argument 11, left 0, pending 0.", "through: caught invalid_argument 11, left 20, pending 0.",
  "again: caught range_error 22, left 30, pending 0.", "quiet: caught own 13, left 1, pending 0.",
}}, shows)
