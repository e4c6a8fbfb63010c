-- timeout: 90
-- Processes under restrictions (filters, limits, locked memory): patched at the first command and reverted, or refused by
-- name, and never harmed.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
assert(os.execute(("chmod 755 %q && chmod 644 %q"):format(t.directory(), fix))) -- one of them is another user's

for _, mode in ipairs {"none", "fresh", "mdwe", "dumpable", "locked", "space", "size", "procs", "allowed", "nobody"} do
  local c <close> = t.target {"hard", mode, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.state(ulp.trigger(p, fix), "done", mode)
  c:ask("tell", "dozen=13.", {reject = "dozen=12"})
  t.state(ulp.revert(p, fix), "done", mode)
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.unharmed(c.pid)
end

-- What a filter does not let through is named, and not tried: any such call would be the process's last.
for _, call in ipairs {"openat", "pread64", "newfstatat", "mmap", "mprotect", "munmap", "close", "brk", "futex",
  "rt_sigprocmask"} do
  local c <close> = t.target {"hard", "lacks-" .. call, timeout = 20}
  local before = t.snapshot(c.pid)
  local said = t.refused("seccomp.forbidden", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  t.ok(said.message:find(call, 1, true), "it is named: " .. said.message)
  for _, other in ipairs(said.calls) do t.ok(other:find(call, 1, true), "nothing else is: " .. other) end
  t.unchanged(c.pid, before)
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
end

do -- What the first allocation of all takes is nothing that other processes need.
  local c <close> = t.target {"hard", "fresh-allowed", timeout = 20}
  local said = t.refused("seccomp.forbidden", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  t.eq(said.calls, {"getrandom"})
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
