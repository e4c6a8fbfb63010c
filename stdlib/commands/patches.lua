--- `ulpsh patches [-p PROCESS]`
local cli = require "ulp.cli"

local function text_of(entry)
  local clean = require "ulp.render.pretty".clean
  local lines = {("%s[%d]"):format(clean(entry.comm or "?"), entry.pid)}
  for _, patch in ipairs(entry) do
    lines[#lines + 1] = ("  %s  %s"):format(clean(patch.path or patch.id or "?"), clean(patch.target or ""))
  end
  if #lines == 1 then lines[2] = "  no patches" end
  return table.concat(lines, "\n")
end

--- @type ulp.cli.Command
return {
  summary = "List processes that can be live patched, and their patches. Stops nothing.",
  configure = function(parser)
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local processes = cli.processes(options, out, {runtime = true})
    if #processes == 0 then return out.worst > 0 and out.worst or cli.status.nothing end
    for _, process in ipairs(processes) do
      local done, entry = cli.try(ulp.patches, process)
      if done then
        local list = {}
        for index, patch in ipairs(entry) do list[index] = patch end
        out:note("patches", {pid = entry.pid, comm = entry.comm, universe = entry.universe, patches = list}, text_of(entry))
      else
        out:result(cli.result_of(entry, process))
      end
    end
  end,
}
