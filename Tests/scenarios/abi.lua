-- Every row of SUSE's interface has its proof, or a reason why there is none: the table is held against the names that the
-- runtime exports, the numbers that the tool knows, the codes that ulpsh refuses with, and the words of the tests it names.
local t = require "ulp.scenario"
local core = require "ulp.core"
local abi = t.shared "abi"
local numbers = require "ulp.names.numbers"

local function read(path)
  local file = io.open(path, "rb")
  return file and file:read "a", file and file:close()
end

--- The text of a scenario, or of a file under Tests.
local texts = {}
local function text_of(name)
  texts[name] = texts[name] or read(("%s/%s.lua"):format(t.here, name)) or read(("%s/../%s"):format(t.here, name))
  return texts[name]
end

local function check_row(name, row)
  t.ok(#row > 0 or row.reason, name .. ": a proof or a reason")
  for _, proof in ipairs(row) do
    local file, words = proof:match "^([%w_/.]+)#(.+)$"
    t.ok(file and words, name .. ": FILE#WORDS: " .. proof)
    t.ok(text_of(file), ("%s: there is a test %s"):format(name, file))
    t.ok(text_of(file):find(words, 1, true), ("%s: %s has %s"):format(name, file, words))
  end
end

--- Rows whose first element is their name.
local function check_list(section, count)
  t.eq(#section, count or #section, "number of rows")
  for _, row in ipairs(section) do check_row(row[1], {reason = row.reason, table.unpack(row, 2)}) end
end
check_list(abi.checklist, 13)
check_list(abi.shell, 6)
check_list(abi.behaviour)
check_list(abi.formats)
check_list(abi.environment)
check_list(abi.symbols)

local count = 0
for name, row in pairs(abi.tests) do
  check_row(name, row)
  count = count + 1
end
t.eq(count, 59, "SUSE's tests")

-- What the runtime exports, and nothing else.
local listing <close> = t.spawn {"readelf", "--dyn-syms", "-W", core.runtime_path}
listing:expect_exit(0)
local exported, listed = {}, {}
for line in listing:drain():gmatch "[^\n]+" do
  local bind, index, name = line:match "^%s*%d+: %x+%s+%S+%s+%S+%s+(%S+)%s+%S+%s+(%S+)%s+([^%s]+)"
  if bind == "GLOBAL" and index ~= "UND" then
    t.ok(not name:find "@", name .. " has no version")
    exported[name] = true
  end
end
for _, row in ipairs(abi.symbols) do listed[row[1]] = true end
t.eq(listed, exported, "names")

-- The numbers that SUSE's tool knows, and what ulpsh says.
for number, row in pairs(abi.numbers) do
  local name = tostring(number)
  t.ok(numbers.numbers[number], name .. " is known")
  check_row(name, row)
  t.ok(row.ours or row.reason, name .. ": ours or a reason")
  if row.ours and row.ours ~= "-" then
    t.eq(numbers.of(row.ours), number, "the number of " .. row.ours)
    t.ok(row.ours_proof or row.reason, row.ours .. ": provoked, or a reason")
    if row.ours_proof then check_row(name, {row.ours_proof .. "#\"" .. row.ours .. "\""}) end
  elseif row.ours then
    check_row(name, {row.ours_proof})
  end
end
for number in pairs(numbers.numbers) do t.ok(abi.numbers[number], number .. " is in the table") end
