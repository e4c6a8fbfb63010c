-- timeout: 60
-- A container is unloaded after a revert only when nothing in it can still be used; any other stays, once, however often it is
-- applied, and is only used again while its data is as new. What a tool that died did not unload, the next one does.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"keeper", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())

local function is_mapped(path)
  for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
    if line:find(path, 1, true) then return true end
  end
  return false
end

local function only(result, state, path)
  t.state(result, "done")
  t.eq(#result.containers, 1, "containers that went out of force")
  t.eq(result.containers[1].state, state, path .. ": " .. tostring(result.containers[1].reason))
  t.eq(is_mapped(path), state ~= "unloaded", path .. " is mapped")
  t.unharmed(c.pid)
  return result.containers[1]
end

local function retired()
  local count = 0
  for _, patch in ipairs(runtime:patches()) do count = count + (patch.state == "retired" and 1 or 0) end
  return count
end

-- Pure: nothing but code.
local pure = t.patch "plain_2"
local keeps = t.patch "greeting_2"
t.eq(assert(ulp.plan(p, pure)).applies[1].keep, nil, "code alone need not be kept")
local first = only((function() t.state(ulp.trigger(p, pure), "done") return ulp.revert(p, pure) end)(), "unloaded", pure)
t.eq(first.reason, nil)

-- A string that was given away is good after the revert.
t.ok(assert(ulp.plan(p, keeps)).applies[1].keep:find "constants", "the plan says why it stays")
c:ask("take", "take=one\n", {reject = "two"})
t.state(ulp.trigger(p, keeps), "done")
c:ask("take", "take=two\n", {reject = "one"})
t.ok(only(ulp.revert(p, keeps), "retired", keeps).reason:find "constants", "the reason is told")
c:ask("show", "show=two\n")
for _ = 1, 10 do
  t.state(ulp.trigger(p, keeps), "done", "a retired container again")
  c:ask("take", "take=two\n", {reject = "one"})
  only(ulp.revert(p, keeps), "retired", keeps)
  t.eq(retired(), 1, "one container is remembered once")
end
c:ask("show", "show=two\n")
c:ask("take", "take=one\n", {reject = "two"})
t.state(ulp.trigger(p, keeps), "done")
only(ulp.revert(p, keeps, {unload = true}), "unloaded", keeps)
t.eq(retired(), 0, "nothing is remembered of what is gone")
c:ask("take", "take=one\n", {reject = "two"})

-- A container that counted is not as new: refused, nothing changed; a copy of it begins anew.
local counts = t.patch "counted_2"
t.state(ulp.trigger(p, counts), "done")
c:ask("counted", "counted=1\n")
c:ask("counted", "counted=2\n")
t.ok(only(ulp.revert(p, counts), "retired", counts).reason:find "variables", "the reason is told")
local before = t.snapshot(c.pid)
t.ok(t.refused("container.stale", function() return ulp.trigger(p, counts) end).message:find "changed", "what is stale is told")
t.unchanged(c.pid, before)
c:ask("counted", "counted=0\n", {reject = {"=1", "=3"}})
local copy = t.write_file(t.directory() .. "/copy.so", t.read_file(counts))
t.state(ulp.trigger(p, copy), "done")
c:ask("counted", "counted=1\n", {reject = "counted=3"})
only(ulp.revert(p, copy, {unload = true}), "unloaded", copy)
-- Another file under the name of one that is still loaded would not be loaded at all.
t.patch "counted_2"
t.refused("container.stale", function() return ulp.trigger(p, counts) end)

-- The operator decides, when applying or when reverting, and from the command line.
t.state(ulp.trigger(p, pure, {unload = false}), "done")
t.ok(only(ulp.revert(p, pure), "retired", pure).reason:find "was to be kept", "as it was applied")
t.state(ulp.trigger(p, pure, {unload = true}), "done")
only(ulp.revert(p, pure, {unload = true}), "unloaded", pure)
t.state(ulp.trigger(p, keeps, {unload = true}), "done")
only(ulp.revert(p, keeps), "unloaded", keeps)
t.state(ulp.trigger(p, pure), "done")
local tool <close> = t.ulpsh {"revert", "-p", tostring(c.pid), "--unload", "no", pure, timeout = 20}
tool:expect_exit(0)
t.ok(is_mapped(pure) and retired() == 2, "--unload no")
t.state(ulp.trigger(p, keeps), "done")
t.ok(is_mapped(pure), "a later change does not unload what is to be kept")
only(ulp.revert(p, keeps, {unload = true}), "unloaded", keeps)
t.state(ulp.trigger(p, pure), "done")
only(ulp.revert(p, pure, {unload = true}), "unloaded", pure)
t.refused("usage", function() return ulp.trigger(p, pure, {unload = "yes"}) end)

--- Reverts like a tool that dies after it has settled.
local function revert_and_die(fix)
  local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, {}, {assert(ulp.container(fix)).id}))) end)
  t.ok(t.insist(function() return p:switch(staged) end).switched)
  t.insist(function() return runtime:settle(staged) end)
end
t.state(ulp.trigger(p, pure), "done")
revert_and_die(pure)
t.ok(is_mapped(pure), "nobody came to unload it")
t.eq(runtime:state(), "idle")
local helper <close> = t.ulpsh {"recover", "-p", tostring(c.pid), timeout = 20}
helper:expect_exit(0)
t.ok(not is_mapped(pure), "recover unloads it")
t.state(ulp.trigger(p, pure), "done")
revert_and_die(pure)
t.state(ulp.trigger(p, keeps), "done")
t.ok(not is_mapped(pure), "so does the next change")
revert_and_die(keeps)
t.eq(runtime:recover().action, "none", "recovery leaves alone what is to be kept")
t.ok(is_mapped(keeps))
c:ask("take", "take=one\n", {reject = "two"})
t.unharmed(c.pid)
