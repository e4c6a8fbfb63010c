-- timeout: 300
-- slow
-- Threads of which hardly one is in a good place to be borrowed (vfork, malloc_trim, coroutines on small stacks, thread
-- churn, fork): the first command is done, and the program's own sums are right.
local t = require "ulp.scenario"
local ulp = require "ulp"
local hard = t.shared "hard"

for _, case in ipairs {
  {"ordeal", "vfork", "4"}, {"ordeal", "trim", "4"}, {"ordeal", "coroutine", "4"}, {"churn", "trim", "4"},
  {"tumult", "join", "4"}, {"tumult", "fork", "2"},
} do hard.first_command(case, {rounds = 3}) end

-- Hardly a moment outside of vfork, in which the kernel cannot stop a thread: done if such a moment is met, refused if not.
do
  local c <close> = t.target {"ordeal", "vforks", "4", timeout = 60}
  local done, result = pcall(ulp.trigger, assert(ulp.attach(c.pid)), t.patch "dozens_13", {timeout = 3})
  t.ok(result.code == "carrier.none" or result.code == "process.unstoppable" or done and result.state == "done",
    "an answer with a name: " .. tostring(result))
  hard.look(c, done and result.state == "done" and 13 or 12)
  t.unharmed(c.pid)
end
