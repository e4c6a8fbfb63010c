-- timeout: 60
-- A process in gdb's hands is refused with gdb's name and number and the command that helps; and that command helps.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
if not io.open "/usr/bin/gdb" then t.skip "no gdb" end

for _, running in ipairs {false, true} do
  local c <close> = t.target {"numserv", timeout = 20}
  local gdb <close> = t.spawn {
    "/usr/bin/gdb", "-q", "-nx", "-p", tostring(c.pid), "-ex", "echo attached\\n", timeout = 40, pty = true,
    env = {DEBUGINFOD_URLS = "", TERM = "dumb"},
  }
  gdb:expect("attached", {reject = "ptrace:"})
  if running then gdb:ask("continue", "Continuing.") end

  local before = t.text(c.pid, "libdozens.so.0")
  local said = t.refused("process.traced", function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  t.ok(said.message:find(("gdb (process %d)"):format(gdb.pid), 1, true), "gdb is named: " .. said.message)
  t.eq({said.tracer, said.tracer_comm}, {gdb.pid, "gdb"})
  t.ok(said.hint:find("`detach`", 1, true) and said.hint:find("Ctrl-C", 1, true), "the way out is told: " .. said.hint)
  t.ok(said.hint:find('call (int) gdb_ulp_apply("', 1, true), "and another: " .. said.hint)
  t.ok(t.text(c.pid, "libdozens.so.0") == before, "its text is unchanged")

  -- As the hint says.
  if running then
    c:ask("dozen", "12\n", {reject = "13"})
    gdb:send "\3"
    gdb:expect "(gdb)"
  end
  gdb:ask("detach", "detached")
  t.state(ulp.trigger(assert(ulp.attach(c.pid)), fix), "done")
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(assert(ulp.attach(c.pid)), fix), "done")
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end
