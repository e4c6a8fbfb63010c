-- timeout: 180
-- slow
-- A process that its control group has frozen is refused at once, by the group's name and with the way to thaw it; once thawed it
-- is patched; and a child that is frozen does not keep its parent from closing it.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"

local all = t.shared "freezer".all()
if #all == 0 then t.skip "no control groups can be made here" end

local function refuses(p, group, change)
  local began = t.clock()
  local said = t.refused("process.frozen", change)
  t.ok(t.clock() - began < 30, "refused at once")
  t.eq(said.group, group.group, "the group")
  local way = ("`echo %s > %s/%s`"):format(group.off, group.group, group.file)
  t.ok(said.hint:find(way, 1, true), "the way to thaw it: " .. said.hint)
  t.eq(p.alive, true)
end

for _, make in ipairs(all) do
  local group <close> = make()

  -- The group that was told to freeze is the one above.
  do
    local c <close> = t.target {"numserv", timeout = 20}
    local p <close> = assert(ulp.attach(c.pid))
    group:add(c.pid)
    group:freeze()
    refuses(p, group, function() return ulp.trigger(p, fix, {timeout = 90}) end)
    refuses(p, group, function() return p:call("getpid", {}, {timeout = 90}) end)
    local tool <close> = t.ulpsh {"trigger", "--timeout", "90", "-p", tostring(c.pid), fix}
    tool:expect "process.frozen"
    tool:expect_exit(1)
    t.eq(#ulp.patches(p), 0, "what is applied can be seen")
    group:thaw()
    t.switches(c, fix, {old = "12\n", new = "13\n"}, function(expected, rejected)
      c:ask("dozen", expected, {reject = rejected})
    end)
  end

  -- In the middle of an operation: it is told why nothing goes on, and afterwards all is as it was.
  do
    local c <close> = t.target {"numserv", timeout = 20}
    local p <close> = assert(ulp.attach(c.pid))
    group:add(c.pid)
    local runtime = assert(p:runtime())
    do
      local staged = runtime:stage(assert(ulp.plan(p, fix)))
      group:freeze()
      t.sleep(0.1)
      local done, said = pcall(runtime.abort, runtime, staged)
      t.ok(not done and said.hint:find("thaw it", 1, true), "why it cannot be taken back: " .. tostring(said))
    end
    group:thaw()
    c:ask("dozen", "12\n", {reject = "13"})
    collectgarbage()
    t.state(ulp.trigger(p, fix, {timeout = 20}), "done")
    c:ask("dozen", "13\n", {reject = "12"})
    t.unharmed(c.pid)
  end

  -- Closed while it is frozen, killed or not.
  local c <close> = t.target {"numserv", timeout = 20}
  group:add(c.pid)
  group:freeze()
  local began = t.clock()
  c:close()
  t.ok(t.clock() - began < 30, "closing it ends in time")
  t.ok(type(ulp.core.kill_orphans {}) == "number", "and so does looking for what is left")
  t.ok(t.clock() - began < 60, "in time as well")
end
