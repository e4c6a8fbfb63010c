-- timeout: 60
-- A receipt names what a constructor has changed, and nothing else; a patch without one leaves no difference.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", cwd = "/tmp"}
local p <close> = assert(ulp.attach(c.pid))

-- A light patch: everything is compared, nothing differs.
local light = t.patch "dozens_13"
for _, change in ipairs {ulp.trigger, ulp.revert} do
  local result = t.state(change(p, light, {receipt = true}), "done")
  t.ok(result.receipt.stops > 0 and result.receipt.world_stops == 1 and result.receipt.calls > 0, "everything is compared")
  t.eq(result.receipt.calls, result.receipt.carriers_met, "the carrier, taken out of read(2), is met when it repeats it")
  t.eq(result.receipt.differences, {}, "differences")
end

-- One whose constructor meddles.
local function masks()
  local status = t.read_file(("/proc/%d/status"):format(c.pid))
  return status:match "SigBlk:%s*(%x+)"
end
local mask = masks()
local meddle = t.patch "dozens_meddle"
local result = t.state(ulp.trigger(p, meddle, {receipt = true}), "done")
local told = {}
for _, difference in ipairs(result.receipt.differences) do
  t.eq(difference.cause, "callee", difference.what)
  told[difference.what] = difference
end
t.eq(told.umask and told.umask.after, "0077", "umask")
t.ok(told.umask.before ~= "0077", "umask before")
t.eq(told["working directory"] and told["working directory"].before, "/tmp")
t.eq(told["working directory"].after, "/")
t.eq(told["descriptor 2"] and told["descriptor 2"].after, "closed")
t.ok(told["descriptor 2"].before ~= "closed", "what it was")
for _, what in ipairs {
  "limits", "ignored signals", "interval timer", "timers", "action of signal 12", "descriptor 2",
} do
  t.ok(told[what], what .. " is told")
  told[what] = nil
end
told.umask, told["working directory"] = nil, nil
local name, opened = next(told)
t.ok(name and name:match "^descriptor %d+$", "the descriptor is told")
t.eq({opened.before, opened.after}, {"closed", "/dev/null"})
told[name] = nil
t.eq(told, {}, "nothing else is told")
-- What belongs to the borrowed thread was given back.
t.eq(masks(), mask, "signal mask")
local room = p:call("malloc", {64})
p:call("sigaltstack", {0, room})
t.eq(p:unpack(room + 8, "<I4"), 2, "no alternate stack: SS_DISABLE")
c:ask("dozen", "13\n", {reject = "12"})

-- For people and for programs. It is unloaded in between, or its constructor would not run again.
t.state(ulp.revert(p, meddle, {unload = true}), "done")
local tool <close> = t.ulpsh {"trigger", "--receipt", "-p", tostring(c.pid), meddle}
tool:expect "receipt: interval timer: was as it was, is set by setitimer, by the called code"
tool:expect_exit(0)
local other <close> = t.ulpsh {"--json", "revert", "--receipt", "-p", tostring(c.pid), meddle}
other:expect '"receipt":{'
other:expect_exit(0)

-- Without the option nothing is compared.
local core = require "ulp.core"
core.set_receipts(false)
t.eq(ulp.trigger(p, light).receipt, nil, "no receipt")
core.set_receipts(true)
