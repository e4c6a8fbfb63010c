-- timeout: 300
-- slow
-- Signals at 1 kHz and 10 kHz, counted by timer or by sender, and long handlers on alternate stacks: patched at the first
-- command, and not one signal lost, doubled or overtaken. A process that is in its handlers all the time is refused.
local t = require "ulp.scenario"
local ulp = require "ulp"
local hard = t.shared "hard"

-- The kernel counts what could not be queued anew: handled and overrun signals together are the time that went by. A signal
-- that is pending at the question is told one turn of the thread later, so a moment's worth is allowed; it must not add up.
for _, rate in ipairs {1000, 10000} do
  local last
  hard.first_command({"ordeal", "hz", tostring(rate)}, {rounds = 5, seen = function(c)
    local least = math.huge
    for _ = 1, 40 do
      least = math.min(least, hard.look(c, last == 13 and 12 or 13).missing)
      if least <= 2 then break end
      t.sleep(0.05)
    end
    t.ok(least <= 2 and least >= -2, ("missing at %d Hz: %d"):format(rate, least))
    last = last == 13 and 12 or 13
  end})
end

hard.first_command({"ordeal", "alternate", "4"}, {rounds = 3})

-- A handler may have come in the middle of anything, so a thread in its handlers is let be. One that comes along between
-- two of them is as good as any other.
do
  local c <close> = t.target {"ordeal", "always", "4", timeout = 20}
  local text = t.text(c.pid, "libdozens.so.0")
  local p <close> = assert(ulp.attach(c.pid))
  local done, said = pcall(ulp.trigger, p, t.patch "dozens_13", {timeout = 2})
  if done then
    t.state(said, "done")
    hard.look(c, 13)
  else
    t.eq(said.code, "carrier.none")
    t.ok(said.message:find("in a signal handler", 1, true), "the reason is told: " .. said.message)
    t.ok(t.text(c.pid, "libdozens.so.0") == text, "its text is unchanged")
    hard.look(c, 12)
  end
  t.unharmed(c.pid)
end

-- Sent by another process.
do
  local c <close> = t.target {"signals", timeout = 60}
  local p <close> = assert(ulp.attach(c.pid))
  local fix, count, rounds = t.patch "dozens_13", 30000, 0
  local storm <close> = t.spawn {t.path "sigstorm", tostring(c.pid), tostring(count), "50", timeout = 90}
  repeat
    t.state(ulp.trigger(p, fix, {timeout = 20}), "done")
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, fix, {timeout = 20}), "done")
    c:ask("dozen", "12\n", {reject = "13"})
    rounds = rounds + 1
  until not storm:alive()
  storm:expect(("sent %d\n"):format(count))
  t.ok(rounds >= 2, "patched more than once under the storm")
  t.wait_until(function() return tonumber(c:ask("report", "queued=(%d+)", {pattern = true})) >= count end)
  c:ask("report", ("usr1=0 queued=%d sum=%d disorder=0."):format(count, count * (count + 1) // 2))
  t.unharmed(c.pid)
end
