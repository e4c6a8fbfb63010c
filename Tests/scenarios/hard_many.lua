-- timeout: 300
-- slow
-- 512 threads, asleep or all busy: done, or let go unpatched for a reason with a name; and unharmed. The busy ones end by
-- themselves after two minutes.
local t = require "ulp.scenario"
local ulp = require "ulp"
local hard = t.shared "hard"

hard.first_command({"ordeal", "sleep", "512"}, {rounds = 3})

local passing = {["process.unstoppable"] = true, ["patch.blocked"] = true, ["carrier.none"] = true, ["pause.exceeded"] = true}
local c <close> = t.target {"ordeal", "busy", "512", "120", timeout = 100}
local p <close> = assert(ulp.attach(c.pid))
t.eq(#p.threads, 512, "threads")
local fix, outcomes, number = t.patch "dozens_13", {}, 12
for _, change in ipairs {ulp.trigger, ulp.revert} do
  local done, result = pcall(change, p, fix, {timeout = 20})
  local state = done and result.state or result.code
  outcomes[#outcomes + 1] = state
  t.ok(state == "done" or passing[state] or done and passing[result.code], "an answer with a name: " .. tostring(result))
  if state == "done" then number = change == ulp.trigger and 13 or 12 end
  hard.look(c, number)
  t.unharmed(c.pid)
  if state ~= "done" then break end
end
print(("512 busy threads: %s"):format(table.concat(outcomes, ", ")))
