-- timeout: 300
-- slow
-- Threads of which hardly one is in a good place to be borrowed (vfork, malloc_trim, coroutines on small stacks, thread
-- churn, fork): the first command is done, and the program's own sums are right.
local t = require "ulp.scenario"
local hard = t.shared "hard"

for _, case in ipairs {
  {"ordeal", "vfork", "4"}, {"ordeal", "trim", "4"}, {"ordeal", "coroutine", "4"}, {"churn", "trim", "4"},
  {"tumult", "join", "4"}, {"tumult", "fork", "2"},
} do hard.first_command(case, {rounds = 3}) end
