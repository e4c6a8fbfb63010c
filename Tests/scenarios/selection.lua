-- timeout: 180
-- Processes are chosen by unit, container, name, user and library, from the library and on the command line, one by one and
-- combined; what is chosen and goes meanwhile is no failure; the tool and those who started it are never chosen.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local fix = t.patch "dozens_13"
local stem = "s" .. t.directory():sub(-6) .. "_"
local named = t.shared "named"
local function serve(name)
  local c = t.spawn {named.link(stem .. name, t.path "numserv"), preload = true, timeout = 20}
  c:expect "ready\n"
  return c
end
local one <close> = serve "one"
local two <close> = serve "two"
local function serves(c, dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end

--- The numbers of ours that a selection describes.
local function chosen(selection)
  local found = {}
  for process in ulp.processes(selection) do
    local p <close> = process
    if p.pid == one.pid then found[#found + 1] = "one" elseif p.pid == two.pid then found[#found + 1] = "two" end
  end
  table.sort(found)
  return table.concat(found, " ")
end
local function ulpsh(status, ...)
  local tool <close> = t.ulpsh {timeout = 30, ...}
  tool:expect_exit(status)
  return tool:drain()
end

-- Names, wildcards, users, libraries, numbers.
local user = assert(ulp.attach(one.pid)).user
for selection, expected in pairs {
  [{name = stem .. "one"}] = "one", [{name = stem .. "*"}] = "one two", [{name = stem .. "t?o"}] = "two",
  [{name = stem .. "[!o]*"}] = "two", [{name = stem}] = "", [{pid = one.pid}] = "one",
  [{name = stem .. "*", user = user, lib = "libdozens.so.0", runtime = true}] = "one two",
  [{name = stem .. "*", lib = "libdozens.so"}] = "", [{name = stem .. "*", user = "4294967294"}] = "",
  [{name = stem .. "*", where = function(p) return p.pid == two.pid end}] = "two",
} do
  t.eq(chosen(selection), expected, selection.name)
end
local said = ulpsh(0, "trigger", "-p", stem .. "*", "-u", user, fix)
for name, c in pairs {one = one, two = two} do
  t.ok(said:find(("%s%s[%d]: done"):format(stem, name, c.pid), 1, true), said)
  serves(c, 13)
end
ulpsh(0, "revert", "-p", stem .. "one", "-p", tostring(two.pid), "-p", stem .. "o*", fix)
serves(one, 12)
serves(two, 12)
ulpsh(4, "trigger", "-p", stem .. "three", fix)
ulpsh(4, "trigger", "-p", stem .. "*", "-u", "4294967294", fix)

-- Globs mean what fnmatch(3) makes of them.
local matches = require "ulp.attach".matches
for glob, names in pairs {
  ["a?c"] = {"abc", "ac"}, ["[a-c]x"] = {"bx", "dx"}, ["[!a-c]x"] = {"dx", "bx"}, ["[^a]"] = {"b", "a"}, ["[]]"] = {"]", "["},
  ["[!]]"] = {"x", "]"}, ["[[:digit:]_]*"] = {"_1", "a1"}, ["[![:alpha:]]"] = {"1", "z"}, ["\\*"] = {"*", "a"},
  ["[a-]"] = {"-", "b"},
  ["[a\\-z]"] = {"-", "b"}, ["[+--]"] = {",", "x"}, ["[\\]]"] = {"]", "\\"}, ["%a."] = {"%a.", "bb"}, ["[a"] = {"[a", "a"},
  ["*"] = {"", nil}, [""] = {"", "a"}, ["x.*y"] = {"x.ay", "xay"},
} do
  t.ok(matches(glob, names[1]), ("%s matches %s"):format(glob, names[1]))
  t.ok(not names[2] or not matches(glob, names[2]), ("%s does not match %s"):format(glob, names[2]))
end

-- By units and containers, in groups as systemd and engines name them.
local function hierarchy()
  local v1
  for line in io.lines "/proc/self/mountinfo" do
    local point, kind, options = line:match "^%S+ %S+ %S+ %S+ (%S+) .* %- (%S+) %S+ (%S+)$"
    if kind == "cgroup2" then return point end
    if kind == "cgroup" and options:find("name=systemd", 1, true) then v1 = point end
  end
  return v1
end
local point = hierarchy()
local base = point and ("%s/ulpsh-test-%d"):format(point, math.random(1 << 30))
if not base or not os.execute(("mkdir %q 2>/dev/null"):format(base)) then t.skip "no control groups can be made here" end
local made = {}
local groups <close> = setmetatable({}, {__close = function()
  one:kill()
  two:kill()
  for index = #made, 1, -1 do
    for _ = 1, 50 do
      if os.execute(("rmdir %q 2>/dev/null"):format(made[index])) then break end
      t.sleep(0.05)
    end
  end
end})
t.ok(groups, "the groups go at the end")
made[1] = base
local function join(c, path)
  local place = base
  for part in path:gmatch "[^/]+" do
    place = place .. "/" .. part
    if not core.file_kind(place) then
      t.ok(os.execute(("mkdir '%s'"):format(place)), place)
      made[#made + 1] = place
    end
  end
  local file = assert(io.open(place .. "/cgroup.procs", "w"))
  assert(file:write(c.pid))
  assert(file:close())
end
local function listed() return ulpsh(0, "patches", "-p", stem .. "*") end

local id = ("4f1b3e0c9a7d5e6f"):rep(4)
join(one, "system.slice/shop.service")
join(two, "system.slice/docker-" .. id .. ".scope")
for selection, expected in pairs {
  [{unit = "shop.service"}] = "one", [{unit = "shop"}] = "one", [{unit = "sh?p*"}] = "one", [{unit = "sho"}] = "",
  [{unit = "docker-*.scope"}] = "two", [{container = id}] = "two", [{container = id:sub(1, 8)}] = "two",
  [{container = id:sub(1, 7)}] = "", [{container = id:sub(2, 12)}] = "",
  [{unit = "shop", container = id}] = "", [{unit = "shop", name = stem .. "*", lib = "libdozens.so.0"}] = "one",
} do
  t.eq(chosen(selection), expected, ("%s %s"):format(selection.unit, selection.container))
end
t.ok(listed():find(("%stwo[%d] in docker %s, universe"):format(stem, two.pid, id:sub(1, 12)), 1, true), listed())
t.ok(listed():find(("%sone[%d], universe"):format(stem, one.pid), 1, true), listed())
local entry = ulp.patches(two.pid)
t.eq({entry.container_id, entry.container_engine, entry.unit}, {id, "docker", "docker-" .. id .. ".scope"})
t.eq({ulp.patches(one.pid).unit, ulp.patches(one.pid).container_id}, {"shop.service", nil})
for line in ulpsh(0, "patches", "--json", "--container", id):gmatch "[^\n]+" do
  t.eq(require "dkjson".decode(line).container_id, id, "JSON")
end
ulpsh(0, "trigger", "--container", id:sub(1, 12), fix)
serves(two, 13)
serves(one, 12)
ulpsh(0, "trigger", "--unit", "shop", "-p", stem .. "*", fix)
serves(one, 13)
ulpsh(4, "trigger", "--unit", "none", fix)
ulpsh(0, "revert", "--unit", "shop", fix)
ulpsh(0, "revert", "--container", id, fix)
serves(one, 12)
serves(two, 12)
for path, how in pairs {
  ["machine.slice/libpod-" .. id .. ".scope/container"] = {"podman " .. id:sub(1, 12), id},
  ["kubepods.slice/crio-" .. id .. ".scope"] = {"cri-o " .. id:sub(1, 12), id}, ["lxc.payload.web"] = {"lxc web", "web"},
  ["kubepods/pod1/" .. id] = {"container " .. id:sub(1, 12), id},
} do
  join(one, path)
  t.ok(listed():find(("%sone[%d] in %s, universe"):format(stem, one.pid, how[1]), 1, true), listed())
  t.eq(chosen {container = how[2]}, path:find "machine" and "one two" or how[2] == id and "one two" or "one", path)
end

-- One that goes between the choice and the work is gone, which is no failure.
local numbers = {}
for index = 1, 3 do numbers[index] = serve("gone" .. index) end
local handles = {}
for index, c in ipairs(numbers) do
  handles[index] = assert(ulp.attach(c.pid))
  if index ~= 2 then c:kill() end
end
local states = {}
for index, result in ipairs(ulp.trigger(handles, fix)) do states[index] = result.state end
t.eq(states, {"gone", "done", "gone"}, "of three")
numbers[2]:kill()

-- Processes that come and go while all are listed are nobody's failure.
do
  local churn <close> = t.spawn {"/bin/sh", "-c", "while :; do /bin/sleep 0.001; done", preload = true}
  for _ = 1, 4 do
    for _, listing in ipairs {ulpsh(0, "patches"), named.ulp(0, "patches")} do
      t.ok(listing:find(stem .. "two", 1, true), "all are listed")
      t.ok(not listing:find "%[process%.gone%]" and not listing:find "%[memory%.", listing)
    end
  end
  t.ok(churn:alive(), "they came and went")
end

-- The tool, the shell that started it and this scenario have the runtime, and are never chosen, not even by `*`.
local shell <close> = t.spawn {
  "/bin/sh", "-c", 'echo "shell $$ end"; "$@"; exit $?', "sh", core.executable_path, "-e",
  [[for p in ulp.processes {name = "*", runtime = true} do local q <close> = p print("chosen " .. q.pid .. " end") end]],
  preload = true, timeout = 30,
}
shell:expect_exit(0)
said = shell:drain()
t.ok(said:find(("chosen %d end\n"):format(two.pid), 1, true), "others are")
t.ok(not said:find(("chosen %s end"):format(said:match "shell (%d+) end"), 1, true), "the shell is not")
for _, c in ipairs {one, two} do t.unharmed(c.pid) end
