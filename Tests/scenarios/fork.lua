-- timeout: 120
-- A child forked from a patched, a staged, an armed or a half-armed process, or while its parent loads a container, is a process
-- of its own: the journal is the copy of somebody's work, can be finished or undone there, and both are patched apart.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix, pause = t.patch "dozens_13", t.patch "dozens_pause"
local c <close> = t.target {"forker", timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())

local function says(who, number)
  local others = {}
  for _, other in ipairs {12, 13, 99} do if other ~= number then others[#others + 1] = who .. " says " .. other end end
  c:ask(who == "parent" and "dozen" or "ask", ("%s says %d\n"):format(who, number), {reject = others})
end

local function fork(word)
  c:send((word or "fork") .. "\n")
  local pid = c:expect("child=(%d+)\n", {pattern = true})
  return assert(ulp.attach(math.tointeger(tonumber(pid))))
end

--- Patches and reverts the child while the parent stays at `number`.
local function is_independent(child, number)
  says("parent", number)
  if ulp.check(child, fix).applied then t.state(ulp.revert(child, fix), "done", "the child back") end
  says("child", 12)
  says("parent", number)
  for round = 1, 2 do
    t.state(ulp.trigger(child, fix), "done", "the child, round " .. round)
    says("child", 13)
    says("parent", number)
    t.state(ulp.check(child, fix), "done")
    t.state(ulp.revert(child, fix), "done", "the child, round " .. round)
    says("child", 12)
    says("parent", number)
  end
  t.unharmed(child.pid)
  t.unharmed(c.pid)
end

-- Patched and settled.
t.state(ulp.trigger(p, fix), "done")
do
  local child <close> = fork()
  says("child", 13)
  t.state(ulp.check(child, fix), "done")
  t.eq(assert(child:runtime()):state(), "idle")
  is_independent(child, 13)
end
t.state(ulp.revert(p, fix), "done")

-- Armed and committed, not settled.
do
  local switched = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix))) end)
  t.ok(t.insist(function() return p:switch(switched) end).switched)
  local child <close> = fork()
  says("child", 13)
  t.eq(runtime:state(), "committed")
  t.insist(function() return runtime:settle(switched) end)
  t.eq(assert(child:runtime()):state(), "committed", "the parent's work does not go on in the child")
  t.eq(assert(child:runtime()):recover().action, "finished")
  says("child", 13)
  is_independent(child, 13)
end
t.state(ulp.revert(p, fix), "done")

-- Staged.
do
  local staged = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix))) end)
  local child <close> = fork()
  t.insist(function() return runtime:abort(staged) end)
  says("child", 12)
  t.eq(assert(child:runtime()):state(), "staged")
  is_independent(child, 12)
end
says("parent", 12)

-- Half-armed: the tool died between the first entry and the commit.
local place, armed, missed = 1, false, 0
while not armed do
  local program = ("p = ulp.attach(%d) ulp.trigger(p, %q)"):format(c.pid, fix)
  local tool <close> = t.ulpsh {"-e", program, env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20}
  local exit = t.ok(tool:wait(), "the tool ends")
  -- The steps before depend on how soon a carrier was found, so one run's place is not quite the next one's.
  if exit.code == 0 then missed, place = missed + 1, math.max(1, place - 24) end
  t.ok(missed < 10, "a place where the entries are armed was found")
  local state = runtime:state()
  armed = state == "arming"
  if not armed then
    runtime:recover()
    if ulp.check(p, fix).applied then t.state(ulp.revert(p, fix), "done") end
    place = place + (state == "staged" and 1 or 4)
  end
end
do
  local child <close> = fork()
  says("child", 12)
  t.eq(assert(child:runtime()):state(), "arming")
  t.eq(assert(child:runtime()):recover().action, "undone")
  is_independent(child, 12)
  t.eq(runtime:state(), "arming", "the parent's journal is its own")
end
t.eq(runtime:recover().action, "undone")
t.state(ulp.trigger(p, fix), "done")
says("parent", 13)
t.state(ulp.revert(p, fix), "done")

-- Forked by another thread while the carrier is in the container's constructor: for the child that never comes to an end.
c:send "worker\n"
local worker = c:expect("worker=(%d+)\n", {pattern = true})
do
  local program = ([[
    local p = assert(ulp.attach(%d))
    local runtime = assert(p:runtime())
    local staged <close> = runtime:stage(assert(ulp.plan(p, %q)), {thread = %s, timeout = 20})
    repeat local done, result = pcall(p.switch, p, staged) until done and result.switched
    runtime:settle(staged)]]):format(c.pid, pause, worker)
  local tool <close> = t.ulpsh {"-e", program, timeout = 20}
  t.wait_until(function() return runtime:state() == "staging" end)
  t.eq(runtime:state(), "staging")
  local child <close> = fork "later"
  t.eq(assert(child:runtime()):state(), "staging")
  tool:expect_exit(0)
  says("parent", 13)
  says("child", 12)
  local outcome = assert(child:runtime()):recover()
  t.eq({outcome.found, outcome.action}, {"copied", "cleared"})
  says("child", 12)
  -- The loader has it in its list, and would give it back half made.
  local before = t.snapshot(child.pid)
  t.ok(t.refused("container.stale", function() return ulp.trigger(child, pause) end).hint:find "copy", "the way out is told")
  t.unchanged(child.pid, before)
  says("child", 12)
  local fresh = {deliver = "memfd"}
  t.state(ulp.trigger(child, pause, fresh), "done", "from a memory file it is loaded anew")
  says("child", 13)
  says("parent", 13)
  t.state(ulp.revert(child, pause, {unload = true}), "done")
  says("child", 12)
  local copy = t.write_file(t.directory() .. "/copy.so", t.read_file(pause))
  t.state(ulp.trigger(child, copy), "done", "a copy is loaded anew")
  says("child", 13)
  t.state(ulp.revert(child, copy), "done")
  is_independent(child, 13)
  t.state(ulp.check(p, pause), "done", "the parent is what it was")
end
t.state(ulp.revert(p, pause, {unload = true}), "done")
says("parent", 12)
t.unharmed(c.pid)
