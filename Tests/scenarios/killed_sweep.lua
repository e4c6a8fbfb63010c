-- timeout: 900
-- The tool kills itself at a place of one apply, of one revert, and of one abort. After each death the target lives and is in
-- the version that its universe says, `recover` leaves nothing pending, the same change then works, and at the end the
-- mappings are those of the beginning, but for one retired container.
--
-- ULPSH_SWEEP=all takes every place, ULPSH_SWEEP=N about N places of each; 25 unless given.
local t = require "ulp.scenario"
local ulp = require "ulp"

local wanted = os.getenv "ULPSH_SWEEP" or "25"
local fix = t.patch "dozens_13"
local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))

local function dozen()
  c:send "dozen\n"
  return c:expect("(%d+)\n", {pattern = true})
end

-- Mappings of libraries, those of the container apart. A tool that dies between settling a revert and unloading leaves the
-- container loaded, out of force: the loader gives it to the next apply again, so there is never a second copy.
local function files()
  local others, own = 0, 0
  for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
    if line:find(fix, 1, true) then own = own + 1 elseif line:find "%.so" then others = others + 1 end
  end
  return others, own
end

local kinds = {
  apply = {before = "12", after = "13", program = "ulp.trigger(p, FIX)"},
  revert = {before = "13", after = "12", program = "ulp.revert(p, FIX)"},
  abort = {before = "12", after = "12", program = [[
    local core, runtime = require "ulp.core", assert(p:runtime())
    if runtime:state() ~= "idle" then runtime:recover() end
    runtime:abort(runtime:stage(assert(core.plan(p, {assert(core.container(FIX))}, {}))))]]},
}

local function run(kind, place)
  local program = ("FIX = %q p = ulp.attach(%d) %s"):format(fix, c.pid, kind.program)
  local tool <close> = t.ulpsh {"-e", program, env = {ULPSH_DIE_AT = tostring(place)}, timeout = 20}
  local exit = t.ok(tool:wait(), "the tool ends")
  if exit.code == 0 then return true end
  t.eq(exit, {signal = 9}, "the tool was killed by nothing but its own hand:\n" .. tool.transcript)
  return false
end

-- Brings the target into the version that the change begins with.
local function begin(kind)
  if kind.before == "13" then
    local state = ulp.trigger(p, fix).state
    t.ok(state == "done" or state == "already", "begins with 13")
  elseif #ulp.patches(p) > 0 then
    t.state(ulp.revert(p, fix), "done", "begins with 12")
  end
  t.eq(dozen(), kind.before)
end

local found = {}

local function recover() return assert(p:runtime()):recover() or {found = "idle"} end

local function after(kind, where)
  t.unharmed(c.pid)
  local number = dozen()
  t.ok(number == kind.before or number == kind.after, where .. ": serves one of its versions, not " .. number)
  local outcome = recover()
  found[outcome.found or "?"] = (found[outcome.found or "?"] or 0) + 1
  t.eq(dozen(), number, where .. ": recovery changes nothing that calls reach")
  t.eq(recover().found, "idle", where .. ": nothing stays pending")
  t.unharmed(c.pid)
end

local at_rest = files()
local copy
for _, name in ipairs {"apply", "revert", "abort"} do
  local kind = kinds[name]
  -- How many places there are: the first power of two that is survived, then halving.
  local low, high = 0, 64
  begin(kind)
  if not copy then
    t.state(ulp.trigger(p, fix), "done")
    copy = select(2, files())
    begin(kind)
  end
  while not run(kind, high) do
    after(kind, name .. " " .. high)
    begin(kind)
    low, high = high, 2 * high
    t.ok(high < 1000000, name .. " comes to an end")
  end
  while high - low > 1 do
    local middle = (low + high) // 2
    begin(kind)
    if run(kind, middle) then high = middle else low = middle end
    after(kind, name .. " " .. middle)
  end
  local step = wanted == "all" and 1 or math.max(1, low // math.tointeger(tonumber(wanted)))
  local died = 0
  for place = 1, low, step do
    begin(kind)
    if not run(kind, place) then died = died + 1 end
    after(kind, ("%s, place %d of %d"):format(name, place, low))
  end
  t.ok(died >= low // step * 8 // 10, name .. ": it died at nearly every place")
  if #ulp.patches(p) > 0 then t.state(ulp.revert(p, fix), "done") end
  local others, own = files()
  t.eq(others, at_rest, name .. ": as many mappings as before")
  t.ok(own <= copy, ("%s: the container is mapped once, not %d parts of %d"):format(name, own, copy))
  print(("%s: %d places, died at %d"):format(name, low, died))
end
for state, count in pairs(found) do print(("found %s: %d"):format(state, count)) end
for _, state in ipairs {"idle", "staged", "committed"} do t.ok(found[state], "some tool died leaving " .. state) end
