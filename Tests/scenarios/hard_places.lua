-- timeout: 90
-- A full table of descriptors, a thread and a whole program in vfork, a root directory that nobody can write, a program that
-- runs as its owner: each is patched, or refused in time by name, and patched as soon as that is over.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
assert(os.execute(("chmod 755 %q && chmod 644 %q"):format(t.directory(), fix)))

local function switches(c, options)
  t.switches(c, fix, {old = "dozen=12.", new = "dozen=13."}, function(expected, rejected)
    c:ask("tell", expected, {reject = rejected})
  end, 1, options)
end

--- The refusal, which comes in time and changes nothing.
local function refused(c, code, options)
  local before, began = t.snapshot(c.pid), t.clock()
  local said = t.refused(code, function() return ulp.trigger(assert(ulp.attach(c.pid)), fix, options) end)
  t.ok(t.clock() - began < (options.timeout or t.patience) + 30, "in time")
  t.unchanged(c.pid, before)
  return said
end

-- It has no descriptor for the file. A memory file takes one as well.
do
  local c <close> = t.target {"hard", "full", timeout = 20}
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  local said = refused(c, "stage.failed", {})
  t.ok(said.message:find("Too many open files", 1, true), "what is missing: " .. said.message)
  local done, other = pcall(ulp.trigger, assert(ulp.attach(c.pid)), fix, {deliver = "memfd"})
  t.ok(not done and other.code == "container.undeliverable", "no memory file either: " .. tostring(other))
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  t.unharmed(c.pid)
  c:ask("free", "dozen=12.", {reject = "dozen=13"})
  switches(c)
end

-- Uninterruptible: the others go on as soon as that is seen. Such a thread can only be let go when it stops, or by our end.
do
  local c <close> = t.target {"hard", "vfork", timeout = 20}
  t.ok(t.states(c.pid):find "D", "a thread in uninterruptible sleep")
  local before, began = t.snapshot(c.pid), t.clock()
  local tool <close> = t.ulpsh {"trigger", "--timeout", "0.5", "-p", tostring(c.pid), fix, timeout = 10}
  tool:expect("failed: thread %d+ .*process.unstoppable", {pattern = true})
  tool:expect_exit(1)
  t.ok(t.clock() - began < 30, "in time")
  t.unchanged(c.pid, before)
  -- On a busy machine another thread may be late as well.
  local said = t.wait_until(function()
    local refusal = t.refused("process.unstoppable", function()
      return ulp.trigger(assert(ulp.attach(c.pid)), fix, {timeout = 0.5})
    end)
    return refusal.thread_state == "D" and refusal
  end, "the state of the thread")
  t.ok(said.hint:find "vfork", "a hint: " .. said.hint)
  c:ask("tell", "dozen=12.", {reject = "dozen=13"})
  c:ask("free", "dozen=12.", {reject = "dozen=13"})
  switches(c)
end
do
  local c <close> = t.spawn {t.path "hard", "vfork-main", preload = true, timeout = 20}
  c:expect "waiting"
  local began = t.clock()
  local done, said = pcall(ulp.trigger, assert(ulp.attach(c.pid)), fix, {timeout = 0.5})
  t.ok(not done and said.code == "carrier.none", "nobody to be borrowed: " .. tostring(said))
  t.ok(t.clock() - began < 30, "in time")
  c:ask("go on", "ready")
  switches(c)
end

-- Nothing in it can be written, and nothing need be.
do
  local c <close> = t.spawn {
    "/usr/bin/unshare", "-m", "/bin/sh", "-c", 'mount --make-rprivate / && mount -o remount,bind,ro / && exec "$@"', "sh",
    t.path "hard", "none", preload = true, timeout = 20,
  }
  if not pcall(c.expect, c, "ready\n") then t.skip "the kernel does not allow new namespaces" end
  local mounts = t.read_file(("/proc/%d/mounts"):format(c.pid))
  t.ok((" " .. mounts):find "\n?%S+ / %S+ ro[, ]", "its root is read-only")
  switches(c)
  switches(c, {deliver = "memfd"})
end

-- The loader preloads nothing from a directory of ours into such a program.
if ulp.core.user_id() == 0 then
  local cat = t.directory() .. "/cat"
  assert(os.execute(("cp /bin/cat %q && chown nobody %q && chmod 4755 %q"):format(cat, cat, cat)))
  local c <close> = t.spawn {cat, preload = true, timeout = 20}
  c:ask("here", "here\n")
  t.refused("runtime.missing", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  c:ask("there", "there\n")
  t.unharmed(c.pid)
end
