-- timeout: 60
-- A container whose constructor maps writable and executable memory loads under a filter that forbids it only while the
-- filter is suspended, and the program's own calls meet the filter all the time.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local fix = t.patch "dozens_wx"

local function confined(action)
  local c = t.target {"confined", "-", action}
  local function serves(dozen)
    c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
    t.unharmed(c.pid)
  end
  return c, serves
end

do
  local c <close>, serves = confined "errno"
  local p <close> = assert(ulp.attach(c.pid))
  local function still_filtered() c:ask("map", "map=refused\n", {reject = "allowed"}) end
  serves(12)
  for _, policy in ipairs {"check", "ignore"} do
    t.refused("call.fault", function() return ulp.trigger(p, fix, {seccomp = policy}) end)
    serves(12)
  end
  for round = 1, 3 do
    local again = t.patch("dozens_wx", {as = "wx_" .. round}) -- what it has mapped stays: each load is a new file
    t.state(ulp.trigger(p, again, {seccomp = "suspend", receipt = true}), "done", "suspended")
    still_filtered()
    serves(13)
    t.state(ulp.revert(p, again, {seccomp = "suspend"}), "done")
    still_filtered()
    serves(12)
  end
  t.raises("usage", function() return ulp.trigger(p, fix, {seccomp = "off"}) end)
end

-- Under a filter that ends the program nothing can be tried without; with, nobody notices.
do
  local c <close>, serves = confined "kill"
  serves(12)
  local tool <close> = t.ulpsh {"trigger", "--seccomp", "suspend", "-p", tostring(c.pid), fix}
  tool:expect_exit(0)
  serves(13)
  c:send "map\n"
  c:expect_exit {signal = 31}
end

-- Not without the privilege.
do
  local c <close>, serves = confined "errno"
  local tool <close> = t.spawn {
    "/usr/bin/setpriv", "--bounding-set=-sys_admin", core.executable_path, "trigger", "--seccomp", "suspend",
    "-p", tostring(c.pid), fix,
  }
  tool:expect "seccomp.permission"
  tool:expect_exit(1)
  serves(12)
  c:ask("map", "map=refused\n", {reject = "allowed"})
end
