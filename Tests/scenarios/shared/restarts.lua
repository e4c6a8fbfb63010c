--- The program whose threads wait in every system call there is, with its library, and what it tells of them.
local t = require "ulp.scenario"

local M = {}

local sources = t.here .. "/../targets/"
M.library = t.cc {kind = "library", as = "libdozens.so", source = sources .. "libraries/libdozens.c"}
M.program = t.cc {
  kind = "program", as = "restarts", source = sources .. "programs/restarts.c", libraries = {M.library},
}

--- What each call has to say: thread, whether it is over, result with error, milliseconds.
function M.tell(c)
  local calls = {}
  c:send "tell\n"
  for line in (c:expect("(.-)told%.\n", {pattern = true})):gmatch "[^\n]+" do
    local name, tid, state, result, took = line:match "^(%S+) (%d+) (%a+) (%S+ %S+) (%d+)$"
    calls[name] = {tid = math.tointeger(tonumber(tid)), state = state, result = result, took = tonumber(took)}
  end
  return calls
end

return M
