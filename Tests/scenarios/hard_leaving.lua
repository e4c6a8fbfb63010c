-- timeout: 120
-- A program of several threads that returns from main at any moment of an apply or a revert ends with its own exit code, and
-- the answer is that it is gone, or that the change was done before.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local answers = {}
for round = 1, 30 do
  local c <close> = t.target {"ordeal", "sleep", "8", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  c:send(("leave %d\n"):format(200000 + round * 1500))
  local deadline, answer = t.clock() + 60, nil
  for change = 1, 100000 do
    local done, result = pcall(change % 2 == 1 and ulp.trigger or ulp.revert, p, fix)
    answer = done and result.state or result.code
    if answer ~= "done" then break end
    t.ok(t.clock() < deadline, "it leaves in time")
  end
  t.ok(answer == "gone" or answer == "process.gone" or answer == "process.not_found" or answer == "process.zombie",
    "not gone but " .. tostring(answer))
  answers[answer] = (answers[answer] or 0) + 1
  local exit = t.ok(c:wait(), "it ended")
  t.ok(exit.code == 0 or exit.unknown, "by its own will")
end
for answer, count in pairs(answers) do print(count, answer) end
