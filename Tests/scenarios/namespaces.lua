-- timeout: 60
-- Processes in mount, PID and user namespaces of their own are found, shown with both numbers, and patched.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local place = t.directory() .. "/private"
t.spawn({"/bin/mkdir", place}):expect_exit(0)

--- A numserv started by unshare(1), ready, and the PID of its process: the children of what was started are asked for it.
local function separate(flags, script)
  local request = {"/usr/bin/unshare", preload = true}
  table.move(flags, 1, #flags, 2, request)
  table.move({"/bin/sh", "-c", script, "sh", place, t.path "numserv", fix}, 1, 7, #request + 1, request)
  local c = t.spawn(request)
  if not pcall(c.expect, c, "ready\n") then t.skip "the kernel does not allow new namespaces" end
  local pid = c.pid
  for _ = 1, 3 do
    local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
    local child = file and file:read "a":match "%d+"
    if file then file:close() end
    pid = tonumber(child) or pid
  end
  return c, assert(ulp.attach(pid))
end

local function serves(c, p, dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(p.pid)
end

local function switches(c, p, patch)
  serves(c, p, 12)
  t.state(ulp.trigger(p, patch), "done", "apply")
  serves(c, p, 13)
  t.ok(ulp.check(p, patch).applied, "check")
  t.state(ulp.revert(p, patch), "done", "revert")
  serves(c, p, 12)
end

local own = assert(ulp.attach(t.target("numserv").pid)).namespaces

-- Files of its own: libraries that only it sees, and a patch that is named by the path under which we see it.
do
  local c <close>, p = separate({"-m"}, 'mount -t tmpfs none "$1" && cp "$3" "$1/fix.so" &&'
    .. ' cp "$(dirname "$2")"/lib*s.so.0 "$1/" && LD_LIBRARY_PATH="$1" exec "$2"')
  t.ok(p.namespaces.mnt ~= own.mnt, "mounts of its own")
  switches(c, p, fix)
  local inside = ("/proc/%d/root%s/fix.so"):format(p.pid, place)
  t.eq(assert(ulp.plan(p, inside)).applies[1].target_path, place .. "/fix.so", "the path that it opens")
  switches(c, p, inside)
  t.ok(p.libs["libdozens.so.0"], "its libraries")
  t.raises("file.unreadable", function() return ulp.trigger(p, place .. "/fix.so") end)
end

-- Two numbers.
do
  local c <close>, p = separate({"-pf"}, 'exec "$2"')
  t.ok(p.namespaces.pid ~= own.pid, "PIDs of its own")
  t.eq(p.inner_pid, 1, "its number inside")
  t.eq(p.facts.inner_pid, 1, "in the facts")
  switches(c, p, fix)
  t.eq(ulp.trigger(p, fix).inner_pid, 1, "in the result")
  local tool <close> = t.ulpsh {"patches", "-p", tostring(p.pid)}
  tool:expect(("numserv[%d, 1 inside], universe"):format(p.pid))
  tool:expect_exit(0)
end
do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  t.eq(p.inner_pid, p.pid, "the same number")
  t.eq(p.facts.inner_pid, nil, "no other number")
  t.ok(not tostring(require "ulp.render.human".subject(p.facts)):find "inside", "one number")
end

-- Another user's eyes: root there, somebody here.
do
  local c <close>, p = separate({"-Ur"}, 'exec "$2"')
  t.ok(p.namespaces.user ~= own.user, "users of its own")
  switches(c, p, fix)
end
