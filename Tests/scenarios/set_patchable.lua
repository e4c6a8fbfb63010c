-- timeout: 60
-- Opt-out variables and set_patchable switch live patching off: every change is refused, what is patched stays patched and is
-- shown; switched on again everything works. Quarantine is shown with its reason and cannot be lifted.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix, other = t.patch "dozens_13", t.patch "hundreds_200"

local function first_line(command)
  local pipe = assert(io.popen(command))
  local line = pipe:read "l"
  pipe:close()
  return line
end

local function serves(c, dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  c:ask("hundred", hundred .. "\n", {reject = hundred == 100 and "200" or "100"})
  t.unharmed(c.pid)
end

local function off(p)
  local refusal = t.refused("runtime.disabled", function() return ulp.trigger(p, other) end)
  t.eq(refusal.error_state, 280)
  t.ok(refusal.hint:find "set_patchable enable", refusal.hint)
  t.eq(ulp.patches(p).patching, "disabled")
  t.ok(ulp.patches(p).reason:find "set_patchable")
end

-- The environment.
local uid, user = first_line "id -u", first_line "id -un"
local gid, group = first_line "id -g", first_line "id -gn"
for name, values in pairs {
  PATH = {yes = {"*/numserv", "/nowhere:*/num@(serv|x)"}, no = {"*/numser", "/bin/*:"}},
  USERS = {yes = {uid, "77777:" .. user, user:sub(1, 2) .. "*"}, no = {"77777", "nobody-at-all"}},
  GROUPS = {yes = {gid, "77777:" .. group}, no = {"77777", "no-group-at-all"}},
} do
  for kind, list in pairs(values) do
    for _, value in ipairs(list) do
      local c <close> = t.target {"numserv", env = {["LIBPULP_DISABLE_ON_" .. name] = value}, timeout = 20}
      local p <close> = assert(ulp.attach(c.pid))
      if kind == "yes" then
        local before = t.snapshot(c.pid)
        off(p)
        t.unchanged(c.pid, before)
        serves(c, 12, 100)
        t.state(ulp.set_patchable(p, true), "done", name .. "=" .. value)
      end
      t.eq(ulp.patches(p).patching, "enabled")
      t.state(ulp.trigger(p, fix), "done", name .. "=" .. value)
      serves(c, 13, 100)
    end
  end
end

-- Switched off while something is patched.
local c <close> = t.target {"numserv", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
t.state(ulp.set_patchable(p, true), "already")
t.state(ulp.trigger(p, fix), "done")
local disable <close> = t.ulpsh {"set_patchable", "disable", "-p", tostring(c.pid), timeout = 20}
disable:expect_exit(0)
off(p)
serves(c, 13, 100)
t.eq({#ulp.patches(p), ulp.patches(p)[1].state}, {1, "applied"}, "what is patched is shown")
t.state(ulp.check(p, fix), "done")
t.refused("runtime.disabled", function() return ulp.revert(p, fix) end)
serves(c, 13, 100)
local list <close> = t.ulpsh {"patches", "-p", tostring(c.pid), timeout = 20}
list:expect "disabled: switched off"
list:expect "dozens_13"
list:expect_exit(0)
local enable <close> = t.ulpsh {"set_patchable", "enable", "-p", tostring(c.pid), timeout = 20}
enable:expect_exit(0)
t.state(ulp.trigger(p, other), "done")
serves(c, 13, 200)
t.state(ulp.revert(p, {fix, other}), "done")
serves(c, 12, 100)
t.refused("usage", function() return ulp.set_patchable(p, "disable") end)
local wrong <close> = t.ulpsh {"set_patchable", "of", "-p", tostring(c.pid), timeout = 20}
wrong:expect_exit(2)

-- Quarantine: the state of an internal error.
t.state(ulp.trigger(p, fix), "done")
local state = assert(p:symbol "__ulp_error_state")
p:write(state, string.pack("<i4", 256))
local shown = ulp.patches(p)
t.eq({shown.patching, #shown, shown[1].state}, {"quarantined", 1, "applied"})
t.ok(shown.reason:find "internal error", shown.reason)
t.eq(ulp.check(p, fix).patching, "quarantined")
for _, change in ipairs {
  function() return ulp.trigger(p, other) end, function() return ulp.revert(p, fix) end,
  function() return ulp.set_patchable(p, true) end, function() return ulp.set_patchable(p, false) end,
} do
  t.ok(t.refused("runtime.disabled", change).message:find "quarantine", "quarantine is told")
end
t.eq(p:unpack(state, "<i4"), 256, "it is not lifted")
serves(c, 13, 100)
local cli <close> = t.ulpsh {"patches", "-p", tostring(c.pid), timeout = 20}
cli:expect "quarantined: internal error, state 256"
cli:expect_exit(0)
