--- `ulpsh patches [-p PROCESS]`
local cli = require "ulp.cli"

--- The container that a process runs in. IDs are cut as the engines' own listings do.
local function container_of(entry)
  if not entry.container_id then return "" end
  local id = #entry.container_id == 64 and entry.container_id:sub(1, 12) or entry.container_id
  return " in " .. require "ulp.render.pretty".clean((entry.container_engine or "container") .. " " .. id)
end

local function text_of(entry)
  local clean = require "ulp.render.pretty".clean
  local whose = entry.runtime == "suse" and "SUSE's libpulp" .. (entry.version and " " .. clean(entry.version) or "")
    or ("universe %d"):format(entry.universe)
  local lines = {("%s%s, %s"):format(require "ulp.render.human".subject(entry), container_of(entry), whose)}
  if entry.patching ~= "enabled" then lines[1] = ("%s, %s: %s"):format(lines[1], entry.patching, clean(entry.reason)) end
  if entry.pending then lines[#lines + 1] = ("  a tool has left a call unfinished: `ulpsh recover %d`"):format(entry.pid) end
  for _, patch in ipairs(entry.patches) do
    lines[#lines + 1] = ("  %s  %s  %s, %d function%s%s"):format(
      os.date("%Y-%m-%d %H:%M:%S", patch.time), clean(patch.id:sub(1, 16)), clean(patch.path or "?"), #patch.units,
      #patch.units == 1 and "" or "s", patch.lost and ", lost: " .. clean(patch.lost) or "")
    if #patch.labels > 0 then lines[#lines + 1] = "    " .. clean(table.concat(patch.labels, ", ")) end
  end
  if #entry.patches == 0 then lines[#lines + 1] = "  no patches" end
  return table.concat(lines, "\n")
end

--- The list with its members beside it, as an object.
local function record_of(list)
  local entry = {pid = list.pid, inner_pid = list.inner_pid, comm = list.comm, runtime = list.runtime, patches = {}}
  entry.unit, entry.container_id, entry.container_engine = list.unit, list.container_id, list.container_engine
  entry.universe, entry.version, entry.pending = list.universe, list.version, list.pending
  entry.patching, entry.reason = list.patching, list.reason
  for index, patch in ipairs(list) do entry.patches[index] = patch end
  return entry
end

--- @type ulp.cli.Command
return {
  summary = "List processes that can be live patched, and their patches. Stops nothing.",
  configure = function(parser)
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local ulp, known = require "ulp", {}
    return cli.each(cli.processes(options, out, {runtime = true}), out, function(process)
      local entry = record_of(ulp.patches(process, known))
      out:note("patches", entry, text_of(entry))
    end)
  end,
}
