-- timeout: 60
-- The process ends in the middle of the work: that is told as what it is, and every time.
local t = require "ulp.scenario"
local ulp = require "ulp"
local fix = t.patch "dozens_13"

-- It leaves as soon as it sees something being loaded.
local gone = 0
for _ = 1, 10 do
  local c <close> = t.target "leaver"
  c:ask("a", "12\n")
  local done, result = pcall(function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  if not (done and result.state == "done") then
    t.ok(done and result.state == "gone" or not done and result.code == "process.gone", "not gone but " .. tostring(result))
    gone = gone + 1
  end
  -- Who traces its own child when that ends learns of it as the tracer; the exit code is not told twice.
  local exit = t.ok(c:wait(), "it ended")
  t.ok(exit.code == 7 or exit.unknown, "by its own will")
end
t.ok(gone >= 1, "at least once it ended before the patch was in force")

-- Killed at a random moment.
math.randomseed(os.time())
for _ = 1, 20 do
  local c <close> = t.target "numserv"
  local killer <close> = t.spawn {"sh", "-c", ("sleep 0.00%d; kill -9 %d"):format(math.random(0, 9), c.pid)}
  local done, result = pcall(function() return ulp.trigger(assert(ulp.attach(c.pid)), fix) end)
  local code = not done and result.code or result.code or result.state
  t.ok(code == "done" or code == "gone" or code == "process.gone" or code == "process.not_found" or code == "process.zombie",
    "not gone but " .. tostring(result))
  killer:expect_exit(0)
  t.ok(c:wait(), "it ended")
end
