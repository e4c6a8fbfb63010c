-- An operator without the right to trace gets told so.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"
local bad = t.shared "bad"
local fix = t.patch "dozens_13"

local c <close> = t.target "numserv"
local before = t.snapshot(c.pid)
local attempt = ("local ok, e = pcall(function() return ulp.trigger(assert(ulp.attach(%d)), %q) end) print(e and e.code)")
if t.read_file "/proc/self/status":match "\nUid:%s+(%d+)" == "0" then
  local probe <close> = t.spawn {"setpriv", "--reuid=65534", "--clear-groups", "test", "-x", core.executable_path}
  local exit = probe:wait()
  if not exit or exit.code ~= 0 then t.skip "another user cannot reach the program under test" end
  local tool <close> = t.spawn {
    "setpriv", "--reuid=65534", "--clear-groups", core.executable_path, "-e", attempt:format(c.pid, fix), timeout = 20,
  }
  tool:expect "process.permission\n"
else
  t.refused("process.permission", function() return ulp.trigger(assert(ulp.attach(1)), fix) end)
end
t.unchanged(c.pid, before)
bad.still_works(c)
