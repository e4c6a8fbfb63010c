-- timeout: 60
-- `max_pause` and `max_carrier` hold beyond the switch: when a change is settled, when it is reverted and when its container
-- is unloaded; what is not done for their sake is done by the next change.
local t = require "ulp.scenario"
local ulp = require "ulp"

local program = t.cc {kind = "program", as = "holder", libraries = {t.path "libdozens.so.0"}, code = [[
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  int dozen(void);
  int main(void) {
    char word[64];
    setvbuf(stdout, NULL, _IONBF, 0);
    puts("ready");
    while (scanf("%63s", word) == 1) {
      if (strcmp(word, "hold") == 0) { /* cannot be stopped until the child has ended, which a dot makes it do */
        puts("holding");
        if (vfork() == 0) { while (getchar() != '.'); _exit(0); }
        puts("held");
      } else printf("%s=%d\n", word, dozen());
    }
    return 0;
  }]]}
local c <close> = t.target {program, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local fix = t.patch "dozens_13"
local function serves(dozen) c:ask("dozen", ("dozen=%d\n"):format(dozen), {reject = ("dozen=%d"):format(25 - dozen)}) end
local function hold() c:ask("hold", "holding\n") end
local function let_go() c:ask(".", "held\n") end
local function id() return assert(ulp.container(fix)).id end

--- Switches within the limit, and settles when no stop can be short.
local function settles_late(staged)
  t.ok(t.insist(function() return p:switch(staged, {max_pause = "200ms"}) end).switched)
  hold()
  t.sleep(0.1)
  -- It would hold for ever.
  local err = t.raises("switch.max_pause", function() return runtime:settle(staged) end)
  t.eq(err.max_pause_us, 200000)
  t.ok(err.message:find "in force", err.message)
  t.eq(runtime:state(), "settling", "what is found by others")
end
do
  local staged <close> = runtime:stage(assert(ulp.plan(p, fix)))
  settles_late(staged)
  let_go()
  t.ok(not t.states(c.pid):find "[tT]", "nothing stands still meanwhile")
  serves(13)
  t.insist(function() runtime:settle(staged) end)
  t.eq(runtime:state(), "idle", "once it could be stopped")
  t.eq(runtime:unload(staged), {}, "nothing went out of force")
end
-- The tool gives up, within the limit as well; the next change does it.
do
  local staged <close> = runtime:stage(assert(ulp.plan(p, {}, {id()})))
  settles_late(staged)
end
t.eq(runtime:state(), "settling", "it is left as it is")
let_go()
serves(12)
local again = t.state(ulp.trigger(p, fix), "done")
t.eq({again.recovered.found, again.recovered.action}, {"settling", "finished"}, "by the next change")
serves(13)

-- What a tool has left that died, recovery leaves as it is for the same reason.
do
  local dead <close> = t.ulpsh {"-e", ([[
    local p = ulp.attach(%d)
    local staged = p:runtime():stage(assert(ulp.plan(p, {}, {%q})))
    assert(p:switch(staged).switched)
    os.exit(0, false)]]):format(c.pid, id())}
  dead:expect_exit(0)
end
t.eq((runtime:state()), "committed")
hold()
t.sleep(0.1)
do
  local tool <close> = t.ulpsh {
    "trigger", "--json", "--max-pause", "200ms", "--timeout", "0.2", "-p", tostring(c.pid), fix, timeout = 20,
  }
  tool:expect '"switch.max_pause"'
  tool:expect_exit(1)
end
t.eq((runtime:state()), "committed", "it is left as it is")
let_go()
serves(12)
again = t.state(ulp.trigger(p, fix, {timeout = 20}), "done")
t.eq({again.recovered.found, again.recovered.action}, {"committed", "finished"})
serves(13)

-- The command tries again for as long as it has time.
do
  local tool <close> = t.ulpsh {"-e", ([[
    local p = ulp.attach(%d)
    local changed = ulp.revert(p, %q, {max_pause = "200ms", timeout = 20})
    print(changed.state, changed.settled)]]):format(c.pid, fix), timeout = 30}
  hold()
  t.sleep(0.5)
  let_go()
  tool:expect "done\ttrue\n"
  tool:expect_exit(0)
  serves(12)
end

-- A revert keeps to both limits as an apply does, and is not half done.
t.state(ulp.trigger(p, fix), "done")
local before = t.snapshot(c.pid)
t.refused("switch.max_pause", function() return ulp.revert(p, fix, {max_pause = "1us", timeout = 0.3}) end)
t.unchanged(c.pid, before)
local slow = t.refused("stage.max_carrier", function() return ulp.revert(p, fix, {max_carrier = "1us"}) end)
t.ok(slow.message:find "nothing was changed", slow.message)
t.unchanged(c.pid, before)
t.eq(runtime:state(), "idle")
serves(13)
t.state(ulp.revert(p, fix), "done")
serves(12)

-- A destructor is forced to return like a constructor, and the container is gone all the same.
local farewell = t.cc {as = "farewell.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_13"}, code = [[
  #include <unistd.h>
  int dozen_13(void) { return 13; }
  __attribute__((destructor)) static void leave(void) { for (;;) usleep(1000000); }
  ]]}
t.state(ulp.trigger(p, farewell), "done")
serves(13)
local left = t.state(ulp.revert(p, farewell, {unload = true, max_carrier = "50ms", timeout = 20}), "done").containers[1]
t.eq(left.state, "unloaded")
t.ok(left.reason:find "destructor" and left.reason:find "leave", left.reason)
for line in io.lines(("/proc/%d/maps"):format(c.pid)) do t.ok(not line:find("farewell.so", 1, true), line) end
serves(12)
t.unharmed(c.pid)
