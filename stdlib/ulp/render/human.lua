--- Results and errors as text for people on a terminal.
local M = {}

local pretty = require "ulp.render.pretty"

local function clean(value) return pretty.clean(tostring(value)) end

--- Microseconds in the unit that reads best.
--- @param us number
--- @return string
function M.duration(us)
  if us >= 1000000 then return ("%.2f s"):format(us / 1000000) end
  if us >= 1000 then return ("%.1f ms"):format(us / 1000) end
  return ("%d us"):format(math.floor(us + 0.5))
end

--- `nginx[4242]`, or as much of it as is known; `nginx[4242, 7 inside]` for one in a PID namespace of its own.
--- @param result {comm: string?, pid: integer?, inner_pid: integer?}
--- @return string
function M.subject(result)
  local name = result.comm and clean(result.comm) or "process"
  if not result.pid then return name end
  local inside = result.inner_pid and (", %d inside"):format(result.inner_pid) or ""
  return ("%s[%d%s]"):format(name, result.pid, inside)
end

--- Lines for the threads that stand in the way of a switch, and of unloading.
local function blocker_lines(result, lines)
  local function each(blockers, place)
    for _, blocker in ipairs(type(blockers) == "table" and blockers or {}) do
      lines[#lines + 1] = ("  thread %s (%s) is inside %s"):format(
        clean(blocker.tid or "?"), clean(blocker.name or "?"), clean(place or blocker["function"] or blocker.symbol or "?"))
    end
  end
  each(result.blockers)
  for _, container in ipairs(type(result.containers) == "table" and result.containers or {}) do
    each(container.blockers, ("%s, which stays loaded"):format(container.path))
  end
end

local function timing(result)
  local parts = {}
  if result.pause_us then parts[#parts + 1] = "paused " .. M.duration(result.pause_us) end
  if result.carrier_us then parts[#parts + 1] = "carrier " .. M.duration(result.carrier_us) end
  return #parts > 0 and " (" .. table.concat(parts, ", ") .. ")" or ""
end

local culprits = {callee = "the called code", ulpsh = "ulpsh", others = "the program itself or somebody else"}

--- What a receipt has found, a line for each difference.
--- @param receipt table?
--- @param lines string[]
function M.receipt_lines(receipt, lines)
  if not receipt then return end
  local seen = receipt.touches and ("%d stops, calls and writes"):format(receipt.touches)
    or ("%d stops, %d world-stops, %d calls compared"):format(receipt.stops, receipt.world_stops, receipt.calls)
  lines[#lines + 1] = ("  receipt: %s, %s"):format(
    seen, #receipt.differences == 0 and "no difference" or #receipt.differences .. " differences")
  for _, list in ipairs {receipt.differences, receipt.others or {}} do
    for _, difference in ipairs(list) do
      lines[#lines + 1] = ("  receipt: %s%s: was %s, is %s, by %s"):format(
        difference.thread and ("thread %d: "):format(difference.thread) or "", clean(difference.what), clean(difference.before),
        clean(difference.after), culprits[difference.cause] or "?")
    end
  end
end

--- A result as lines: `nginx[4242]: done (paused 41 us, carrier 320 us)`, blockers and advice indented below.
--- @param result table
--- @return string
function M.text(result)
  -- What `check` has found is the answer, not that it is done with looking.
  local state = result.state == "done" and result.applied and "applied" or result.state
  local head = M.subject(result) .. ": " .. clean(state or "?")
  if result.message then head = head .. ": " .. clean(result.message) end
  if result.code then head = head .. " [" .. clean(result.code) .. "]" end
  local lines = {head .. timing(result)}
  if type(result.plan) == "string" then
    for line in result.plan:gmatch "[^\n]+" do lines[#lines + 1] = "  " .. clean(line) end
  end
  blocker_lines(result, lines)
  local recovered = result.recovered
  if type(recovered) == "table" then
    -- SUSE's runtime does not remember who began.
    local whose = recovered.tool and ("an operation of ulpsh (process %s)"):format(clean(recovered.tool)) or "a call of a tool"
    lines[#lines + 1] = ("  recovered: %s was found %s; %s"):format(
      whose, clean(recovered.state or "?"), clean(recovered.what or "?"))
  end
  M.receipt_lines(result.receipt, lines)
  for _, warning in ipairs(type(result.warnings) == "table" and result.warnings or {}) do
    lines[#lines + 1] = "  warning: " .. clean(warning)
  end
  if result.hint and result.state ~= "done" and result.state ~= "already" then
    lines[#lines + 1] = "  hint: " .. clean(result.hint)
  end
  return table.concat(lines, "\n")
end

--- Prints a result.
--- @param result table
function M.result(result)
  io.stdout:write(M.text(result), "\n")
end

--- One error; a mistake in a file with its line and a marker below it, as compilers show it.
local function write_error(failure)
  io.stderr:write(("ulpsh: %s [%s]\n"):format(clean(failure.message), clean(failure.code)))
  if type(failure.source) == "string" and type(failure.marker) == "string" then
    -- Tabs stay: the marker has the same ones.
    local source = failure.source:gsub("[^\t]+", clean)
    local marker = failure.marker:gsub("[^\t]+", clean)
    io.stderr:write("  ", source, "\n  ", marker, "\n")
  end
end

--- Prints an error to standard error; of several mistakes in one file all of them.
--- @param err any
--- @param traceback string? for mistakes in Lua code; an answer about a target has none
function M.failure(err, traceback)
  local failure = require "ulp.error".from(err)
  io.stdout:flush()
  for _, mistake in ipairs(type(failure.mistakes) == "table" and failure.mistakes or {failure}) do write_error(mistake) end
  if failure.hint then io.stderr:write("hint: ", clean(failure.hint), "\n") end
  if traceback then io.stderr:write(traceback, "\n") end
end

return M
