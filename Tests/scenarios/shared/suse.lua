--- Drives a target with the stand-in for SUSE's `ulp` (Tests/doubles): one call is one run of that tool.
local t = require "ulp.scenario"

local M = {}

local function quoted(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

--- What the tool printed, as a table: `result`, `name`, `rax` (the last), `writes`, and the whole `text`.
function M.run(...)
  local words = {quoted(t.path "suse_ulp")}
  for _, word in ipairs {"--timeout", "20000", ...} do words[#words + 1] = quoted(word) end
  local tool = assert(io.popen("exec " .. table.concat(words, " ") .. " 2>&1"))
  local text = tool:read "a"
  local _, how, status = tool:close()
  local result, name = text:match "result=(%d+) (%S+)"
  local found = {text = text, result = tonumber(result), name = name, status = how == "exit" and status or nil,
    signal = how == "signal" and status or nil, writes = {}}
  for rax in text:gmatch "rax=(%d+)" do found.rax = tonumber(rax) end
  for address, size, data in text:gmatch "write=(%x+) size=(%d+) data=(%x+)" do
    found.writes[#found.writes + 1] = {address = tonumber(address, 16), size = tonumber(size), data = data}
  end
  return found
end

--- What another run may not meet: a busy target, and a thread that ends while the tool attaches to it.
local passing = {EAGAIN = true, ETHRDATTACH = true}

--- Runs the tool again while the target is busy, as `ulp -r` does; that one also repeats what is refused for good.
function M.patiently(...)
  local deadline = t.clock() + 20
  while true do
    local found = M.run(...)
    if not passing[found.name] or t.clock() > deadline then return found end
    t.sleep(0.001)
  end
end

--- Fails unless the tool ends with this error; a busy moment of the target is waited for.
function M.expect(name, ...)
  local found = M.patiently(...)
  t.ok(found.name == name, ("%s expected of suse_ulp %s, found: %s"):format(name, table.concat({...}, " "), found.text))
  return found
end

function M.trigger(c, container) return M.expect("ENONE", "trigger", c.pid, container) end
function M.revert(c, container) return M.expect("ENONE", "--revert", "trigger", c.pid, container) end

function M.applied(c, container)
  local found = M.run("check", c.pid, container)
  return tonumber(found.text:match "applied=(%d)") == 1
end

--- Names of the containers in the runtime's list, newest first.
function M.list(c)
  local names = {}
  for line in M.run("list", c.pid).text:gmatch "[^\n]+" do
    local library, container, time = line:match "^patch=%x+ library=(%S+) container=(%S+) time=(%d+)"
    if library then
      names[#names + 1] = library .. ":" .. container:match "[^/]*$"
      t.ok(math.abs(os.time() - tonumber(time)) < 3600, "the time of the record")
    end
  end
  return table.concat(names, " ")
end

--- The wire form, from parts; everything can be made wrong.
function M.wire(part)
  local function counted(text) return string.pack("<s4", text) end
  local bytes = {string.char(part.type or 1), part.id or ("i"):rep(32), counted(part.path or "/nowhere.so\0"),
    counted(part.build_id or ("b"):rep(20)), counted(part.target or "libdozens.so.0\0")}
  if (part.type or 1) == 1 then
    bytes[#bytes + 1] = string.pack("<I4", #(part.units or {}))
    for _, unit in ipairs(part.units or {}) do
      bytes[#bytes + 1] = counted(unit[1] .. "\0") .. counted(unit[2] .. "\0") .. string.pack("<I8", unit[3] or 0)
    end
    bytes[#bytes + 1] = string.pack("<I4", #(part.dependencies or {})) .. table.concat(part.dependencies or {})
    bytes[#bytes + 1] = string.pack("<I4", #(part.references or {}))
    for _, reference in ipairs(part.references or {}) do
      bytes[#bytes + 1] = counted(reference[1] .. "\0") .. counted(reference[2] .. "\0") ..
        string.pack("<I8I8B", reference[3] or 0, reference[4] or 0, reference[5] or 0)
    end
  end
  return table.concat(bytes)
end

--- Sends metadata as they are.
function M.raw(c, bytes)
  local path = t.write_file(t.directory() .. "/raw.ulp", bytes)
  return M.patiently("--raw", "trigger", c.pid, path)
end

return M
