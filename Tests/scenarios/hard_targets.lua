-- timeout: 90
-- Processes under restrictions (filters, limits, locked memory): patched at the first command and reverted, or refused by
-- name, and never harmed.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"

for _, mode in ipairs {"none", "fresh", "mdwe", "dumpable", "locked", "space", "size", "procs"} do
  local c <close> = t.target {"hard", mode, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.state(ulp.trigger(p, fix), "done", mode)
  c:ask("tell", "dozen=13.", {reject = "dozen=12"})
  t.state(ulp.revert(p, fix), "done", mode)
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.unharmed(c.pid)
end

for mode, code in pairs {
  ["seccomp-strict"] = "seccomp.strict", ["seccomp-exec"] = "seccomp.forbidden", ["seccomp-open"] = "seccomp.forbidden",
} do
  local c <close> = t.target {"hard", mode, timeout = 20}
  local before = t.snapshot(c.pid)
  t.refused(code, function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  t.unchanged(c.pid, before)
  if mode ~= "seccomp-strict" then c:ask("tell", "dozen=12.", {reject = "dozen=13"}) end
end
