-- timeout: 400
-- slow
-- The tool kills itself at steps of a change through SUSE's runtime in a program whose threads do nothing but allocate or load,
-- in one under a filter that is suspended, in a version that writes by itself, of two patches at once, and of a recovery: nobody
-- is left stopped, old or new is served, and the next command works.
local t = require "ulp.scenario"
local ulp = require "ulp"

local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"
local newest = t.path "suse/libpulp.so"

--- What the target says of itself: 12 or 13.
local function number(c, case)
  c:send(case.ask .. "\n")
  return tonumber((c:expect(case.says, {pattern = true})))
end

--- Runs the statement in a tool that dies at a place. False once it lives through it.
local function dies(statement, pid, place)
  local tool <close> = t.ulpsh {"-e", statement:gsub("PID", tostring(pid)), timeout = 60, env = {ULPSH_DIE_AT = tostring(place)}}
  local exit = t.ok(tool:wait(), "the tool ends")
  if exit.code == 0 then return false end
  t.eq(exit, {signal = 9}, "killed by nothing but its own hand:\n" .. tool.transcript)
  return true
end

local function bring(p, want, options)
  local verb = want == 13 and ulp.trigger or ulp.revert
  local result = verb(p, {dozens}, options)
  t.ok(result.state == "done" or result.state == "already", "the next command works, not " .. result.state)
end

local plain = {ask = "dozen", says = "(%d+)\n"}
local churn = {ask = "tell", says = "failures=0 dozen=(%d+)%."}
local function case(base, members)
  for key, value in pairs(base) do members[key] = value end
  return members
end
local cases = {
  case(churn, {"churn", "malloc", "2", step = 9}), case(churn, {"churn", "dlopen", "1", step = 37}),
  case(plain, {"numserv", preload = t.path "suse/306/libpulp.so.0", step = 2}),
  case(plain, {"confined", "-", "errno", step = 3, options = ", {seccomp = 'suspend', timeout = 40}"}),
  case(plain, {"numserv", step = 3, patches = ("{%q, %q}"):format(dozens, hundreds)}),
}
for _, it in ipairs(cases) do
  local c <close> = t.target {preload = it.preload or newest, timeout = 60, table.unpack(it)}
  local p <close> = assert(ulp.attach(c.pid))
  local name, deaths = table.concat(it, " "), 0
  for _, kind in ipairs {{verb = "trigger", before = 12, after = 13}, {verb = "revert", before = 13, after = 12}} do
    -- The number of steps is not the same each time: an end that comes early is met again.
    local lives = 0
    local options = it.options or ", {timeout = 40}"
    for place = 1, 600, it.step do
      bring(p, kind.before, {timeout = 40})
      t.eq(number(c, it), kind.before, name .. ": begins with")
      local statement = ("ulp.%s(ulp.attach(PID), %s%s)"):format(kind.verb, it.patches or ("%q"):format(dozens), options)
      if dies(statement, c.pid, place) then
        deaths = deaths + 1
        t.unharmed(c.pid)
        local now = number(c, it)
        t.ok(now == 12 or now == 13, ("%s, place %d: old or new, not %s"):format(name, place, now))
      else
        lives = lives + 1
        t.eq(number(c, it), kind.after, name .. ": lives through it")
      end
      bring(p, kind.after, {timeout = 40})
      t.eq(number(c, it), kind.after, ("%s, place %d: %s afterwards"):format(name, place, kind.verb))
      if it.patches then ulp.revert(p, hundreds) end
      local runtime = assert(p:runtime())
      t.eq({runtime:state(), runtime:error_state()}, {"idle", 0}, name)
      if lives == 2 then break end
    end
  end
  t.ok(deaths >= 10, name .. ": there are steps: " .. deaths)
  t.unharmed(c.pid)
end

-- A recovery that is killed in its turn.
do
  local c <close> = t.target {"numserv", preload = newest, timeout = 60}
  local p <close> = assert(ulp.attach(c.pid))
  local queue = assert(p:symbol "__ulp_insn_queue")
  local container = assert(ulp.container(dozens))
  local entry = p.libs["libdozens.so.0"].bias + container.units[1].old_address
  local deaths = 0
  for place = 1, 100 do
    p:write(queue + 16, string.pack("<I1I3I4I8", 2, 24, 2, entry) .. "\x66\x90\0\0\0\0\0\0")
    p:write(queue, string.pack("<I4I4I4", 1, 1, 24))
    local is_dead = dies("ulp.attach(PID):runtime():recover()", c.pid, place)
    t.unharmed(c.pid)
    t.eq(number(c, plain), 12)
    p:runtime():recover()
    t.eq({p:runtime():state(), p:runtime():error_state()}, {"idle", 0})
    if not is_dead then break end
    deaths = deaths + 1
  end
  t.ok(deaths > 3, "there are steps of a recovery: " .. deaths)
  bring(p, 13)
  t.eq(number(c, plain), 13)
end
