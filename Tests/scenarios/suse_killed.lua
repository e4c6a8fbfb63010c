-- timeout: 300
-- slow
-- The tool kills itself at every step of a change through SUSE's runtime. Where SUSE's own tool takes the program with it,
-- the program goes on, nobody is left stopped, and the next command finishes or discards what was left and does its work.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))

local function dozen()
  c:send "dozen\n"
  return c:expect("(%d+)\n", {pattern = true})
end

--- Runs a change in a tool that dies at a place. False once it lives through it.
local function dies(verb, place)
  local tool <close> = t.ulpsh {"-e", ("ulp.%s(ulp.attach(%d), %q)"):format(verb, c.pid, fix),
    env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20}
  local exit = t.ok(tool:wait(), "the tool ends")
  if exit.code == 0 then return false end
  t.eq(exit, {signal = 9}, "killed by nothing but its own hand:\n" .. tool.transcript)
  return true
end

local found, deaths = {}, 0
for _, kind in ipairs {{verb = "trigger", before = "12", after = "13"}, {verb = "revert", before = "13", after = "12"}} do
  local place = 1
  while true do
    local other = kind.verb == "trigger" and "revert" or "trigger"
    t.ok(dozen() == kind.before, "begins with " .. kind.before)
    if not dies(kind.verb, place) then
      t.eq(dozen(), kind.after)
      break
    end
    deaths = deaths + 1
    t.unharmed(c.pid)
    local runtime = assert(p:runtime())
    local where = runtime:state()
    found[where] = (found[where] or 0) + 1
    local now = dozen()
    t.ok(now == "12" or now == "13", "old or new")
    local result = ulp[kind.verb](p, fix)
    local is_done = now == kind.after or result.recovered and result.recovered.action == "finished"
    t.state(result, is_done and "already" or "done")
    t.eq({dozen(), assert(p:runtime()):state(), runtime:error_state()}, {kind.after, "idle", 0})
    t.state(ulp[other](p, fix), "done")
    place = place + 1
  end
end
t.ok(deaths > 20, "there are steps: " .. deaths)
t.ok((found.queued or 0) > 0, "one of the places lies between the call and its writes")
