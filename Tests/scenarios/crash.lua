-- A tool that crashes while it holds the process's threads dies at once: nobody writes a backtrace while they stand still.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
for _, signal in ipairs {"SEGV", "BUS", "ABRT", "ILL", "FPE", "TRAP", "QUIT"} do
  local tool <close> = t.ulpsh {"-e", ([[
    local p = ulp.attach(%d)
    repeat
      local _, why = pcall(p.stopped, p, function()
        print "held"
        io.stdout:flush()
        ulp.core.sleep(60)
      end)
    until why.code ~= "process.unstoppable"]]):format(c.pid), timeout = 60}
  tool:expect "held\n"
  t.ok(t.states(c.pid):find "t", "the thread is held")
  -- Sent, not raised: the same handler would run.
  tool:signal(signal)
  local exit = t.ok(tool:wait(20), "the tool ends")
  t.ok(exit.signal, signal .. ": by the signal")
  t.ok(not tool.transcript:find "Backtrac", signal .. ": without a backtrace")
  t.unharmed(c.pid)
  c:ask("dozen", "12\n", {reject = "13"})
end
t.state(ulp.trigger(c.pid, t.patch "dozens_13"), "done", "the next command works")
