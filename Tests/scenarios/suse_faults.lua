-- timeout: 60
-- With SUSE's runtime: a container whose constructor crashes, aborts, ends the program or does not return is forced out, taken
-- off the runtime's list and unloaded; the runtime stays usable, and the program never learns of it.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local good = t.patch "dozens_13"
local function serves(number) c:ask("dozen", number .. "\n", {reject = tostring(25 - number)}) end

local misdeeds = {spin = "call.timeout", sleep = "call.timeout", mutex = "call.timeout"}
for _, name in ipairs {"segv", "null_call", "abort", "throw", "kill", "raise", "leave", "execute"} do
  misdeeds[name] = "call.fault"
end
for _ = 1, 2 do
  for name, code in pairs(misdeeds) do
    local fix, timeout = t.patch("misdeed_" .. name), code == "call.timeout" and 2 or 20
    local err = t.raises(code, function() return ulp.trigger(p, fix, {timeout = timeout}) end)
    t.ok(err.unloaded, name .. ": unloaded: " .. err.message)
    t.unharmed(c.pid)
    p:refresh()
    for _, library in ipairs(p.libs) do t.ok(not library.name:match "^misdeed_", name .. " is still loaded") end
    t.eq({p:runtime():state(), p:runtime():error_state(), #p:runtime():patches()}, {"idle", 0, 0}, name)
    serves(12)
  end
end
t.state(ulp.trigger(p, good), "done", "the loader works as before")
serves(13)
t.state(ulp.revert(p, good), "done")
serves(12)

-- exit(3) cannot be averted. It is told who called it.
do
  local result = t.state(ulp.trigger(p, t.patch "misdeed_quit"), "gone")
  t.ok(result.message:find("exit(3)", 1, true), "who ended it: " .. result.message)
  c:expect_exit(3)
end
