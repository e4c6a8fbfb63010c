-- "Gone" is said of processes that have ended. Where a thread of one that lives ends each time it is worked with, until the time
-- is over, the command fails.
local t = require "ulp.scenario"
local err = require "ulp.error"
local transition = require "ulp.transition"

--- A process whose threads end under our hands; it answers as one made by Swift does.
local function vanishing(alive)
  return {
    pid = 4321, comm = "vanishing", alive = alive, replaced = false, state = "R", facts = {comm = "vanishing"},
    runtime = function() return nil, err.new("process.gone", "process 4321 has ended") end,
  }
end

local function change(alive)
  return transition.run(vanishing(alive), function() error "nothing is planned" end, {timeout = 0.05})
end

local failure = t.refused("process.unstoppable", function() return change(true) end)
for _, word in ipairs {"4321", "thread"} do
  t.ok(failure.message:find(word, 1, true), ("'%s' is in what it says: %s"):format(word, failure.message))
end
t.eq(failure.cause, "process.gone", "what was met")

local result = change(false)
t.eq(result.state, "gone", "of one that has ended")
t.eq(result.code, "process.gone", "its code")
