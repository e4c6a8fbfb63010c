-- timeout: 90
-- Files that change all the time while they are read: every answer is a whole patch or an error with a code; the program is
-- whole whatever happens.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local place = t.directory()
local good, other = t.patch "dozens_13", t.patch("dozens_13", {as = "other", units = {"dozen:dozens_13", "! another"}})
local known = {[assert(ulp.container(good)).id] = true, [assert(ulp.container(other)).id] = true}
t.write_file(place .. "/text", ("no ELF file "):rep(3000))
t.write_file(place .. "/half", t.read_file(good):sub(1, 5000))

--- Repeats `body` for some seconds, and on a busy machine until both of what it returns have been seen; returns how often.
local function race(seconds, body)
  local whole, refused, started = 0, 0, t.clock()
  repeat
    if body() then whole = whole + 1 else refused = refused + 1 end
  until t.clock() > started + 25 or whole > 0 and refused > 0 and t.clock() > started + seconds
  t.ok(whole > 0 and refused > 0, ("it was whole %d times, refused %d times"):format(whole, refused))
end

--- A process of its own that does this for ever: `copy(from, to)` writes in place, `exchange(from, to)` renames.
local function restless(body)
  return t.ulpsh {"-e", [[
    local function slurp(name) local f = io.open(name, "rb") local s = f:read "a" f:close() return s end
    local function copy(from, to) local f = io.open(to, "wb") f:write(slurp(from)) f:close() end
    local function exchange(from, to) copy(from, to .. ".new") os.rename(to .. ".new", to) end
    while true do ]] .. body .. " end", cwd = place}
end

-- Reading what is written in place.
local writer <close> = restless [[
  for _, name in ipairs {"text", "dozens_13.so", "/dev/null", "other.so", "half"} do
    copy(name, "racing.so")
    if math.random() < 0.1 then ulp.core.sleep(0.005) end
  end]]
local racing = place .. "/racing.so"
race(3, function()
  local container, err = ulp.container(racing)
  if not container then
    t.ok(err.code and err.code ~= "internal" and err.hint, "an error with a code: " .. tostring(err))
    return false
  end
  t.ok(known[container.id], "a patch that somebody has made")
  local plan, refusal = ulp.plan(p, container)
  t.ok(plan or refusal.code, "a plan or a code")
  pcall(container.record, container)
  return true
end)
writer:kill()
c:ask("dozen", "12\n", {reject = "13"})
t.unharmed(c.pid)

-- Packing against a library that is exchanged, with a description that is written meanwhile.
t.write_file(place .. "/packed.so", t.read_file(t.path "dozens_13.so"))
t.write_file(place .. "/whole.dsc", "packed.so\n@racing.so.0\ndozen:dozens_13\n")
local changing <close> = restless(([[
  copy("whole.dsc", "racing.dsc")
  exchange(%q, "racing.so.0")
  ulp.core.sleep(math.random() / 100)
  copy("/dev/null", "racing.dsc")
  exchange("text", "racing.so.0")
  exchange(%q, "racing.so.0")]]):format(t.path "libdozens.so.0", t.path "other/libdozens.so.0"))
race(3, function()
  local container, err = ulp.pack(place .. "/racing.dsc")
  t.ok(container or err.code and err.code ~= "internal" and err.hint, "a container or a code: " .. tostring(err))
  return container
end)
changing:kill()
t.ok(ulp.container(place .. "/packed.so"), "what was packed last is whole")

-- Applying what is exchanged as a whole: what was checked is what is loaded, or nothing.
local exchanging <close> = restless [[
  for _, name in ipairs {"dozens_13.so", "other.so"} do
    exchange(name, "racing.so")
    ulp.core.sleep(math.random() ^ 4 / 5)
  end
  if math.random() < 0.2 then os.remove "racing.so" end]]
race(4, function()
  local ran, result = pcall(ulp.trigger, p, racing)
  if ran then
    t.state(result, "done")
    local patches = ulp.patches(p)
    t.ok(#patches == 1 and known[patches[1].id], "one of the two is in force")
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, patches[1].id), "done")
  else
    t.ok(result.code and result.code ~= "internal" and result.hint, "an error with a code: " .. tostring(result))
    t.eq(#ulp.patches(p), 0, "patches after " .. tostring(result))
  end
  c:ask("dozen", "12\n", {reject = "13"})
  return ran
end)
exchanging:kill()
t.eq(p:runtime():error_state(), 0, "patching is not switched off")
t.state(ulp.trigger(p, good), "done", "when nobody changes it")
t.unharmed(c.pid)
