-- Processes of one fleet have different files mapped from one path: replaced between two starts, removed and made again, or
-- written over between two processes. What was learnt of one file is never taken for what is in the other.
local t = require "ulp.scenario"
local ulp = require "ulp"

-- Functions of the two are at different places; `outer` of one is in the middle of something in the other.
local function library(number)
  local filler = "int filler%d(int a) { __asm__ volatile(\"\"); return a * %d; }\n"
  local code = {}
  for index = 1, number * 5 do code[index] = filler:format(index, index) end
  code[#code + 1] = ("int outer(void) { __asm__ volatile(\"\"); return %d; }"):format(number * 10)
  return t.cc {kind = "library", as = "libsame" .. number, code = table.concat(code)}
end
local path = t.directory() .. "/libsame.so.0"
local contents, fixes = {}, {}
for number = 1, 2 do
  contents[number] = t.read_file(library(number))
  t.write_file(path, contents[number])
  fixes[number] = t.cc {
    as = ("same%d.so"):format(number), target = path, units = {outer = "outer_new"},
    code = ("int outer_new(void) { return %d; }"):format(number * 10 + 1),
  }
end
t.ok(contents[1] ~= contents[2])

--- Puts a version at the path: another file there, or another content of the same one.
local function put(number, in_place)
  if not in_place then
    local new = path .. ".new"
    t.write_file(new, contents[number])
    assert(os.rename(new, path))
  else
    t.write_file(path, contents[number])
  end
end
local function serves(c, number)
  local other = number % 10 == 0 and number + 1 or number - 1
  c:ask("outer", ("outer=%d\n"):format(number), {reject = ("outer=%d\n"):format(other)})
  t.unharmed(c.pid)
end
--- One command for both processes: the one with that version gets the patch, the other refuses it and is as it was.
local function patches_only(number, with, without, other)
  for _, order in ipairs {{with, without}, {without, with}} do
    local before = t.snapshot(without.pid)
    local results = ulp.trigger({order[1].pid, order[2].pid}, fixes[number])
    for index, c in ipairs(order) do
      if c == with then
        t.state(results[index], "done", "its own version")
      else
        t.eq(results[index].code, "target.build_id", "the other version")
      end
    end
    t.unchanged(without.pid, before)
    serves(with, number * 10 + 1)
    serves(without, other * 10)
    t.state(ulp.revert(with.pid, fixes[number]), "done", "its own version")
    serves(with, number * 10)
  end
end

put(1)
local first <close> = t.target {"caller", path, timeout = 30}
put(2)
local second <close> = t.target {"caller", path, timeout = 30}
patches_only(1, first, second, 2)
patches_only(2, second, first, 1)

-- File systems give the number of a removed file to the next one.
first:kill()
second:kill()
for round = 1, 6 do
  local number = round % 2 + 1
  local in_place = round > 3
  if not in_place then assert(os.remove(path)) end
  put(number, true)
  local c <close> = t.target {"caller", path, timeout = 30}
  t.state(ulp.trigger(c.pid, fixes[number]), "done", ("round %d"):format(round))
  serves(c, number * 10 + 1)
  t.refused("target.build_id", function() return ulp.trigger(c.pid, fixes[3 - number]) end)
  serves(c, number * 10 + 1)
  c:kill()
end
