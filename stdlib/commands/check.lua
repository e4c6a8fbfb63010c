--- `ulpsh check [-p PROCESS] CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Tell whether live patches are applied. Stops nothing.",
  configure = function(parser)
    parser:argument "container":args "+":description "The live patches to look for."
    cli.selection_options(parser)
    parser:epilog "Ends with 0 if every patch is applied in every process, with 1 if one is missing."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = {}
    for i, path in ipairs(options.container) do containers[i] = assert(ulp.container(path)) end
    local processes = cli.processes(options, out, {lib = containers[1].target})
    local missing = false
    local status = cli.each(processes, out, function(process)
      local results = {}
      for i, container in ipairs(containers) do
        results[i] = ulp.check(process, container)
        missing = missing or not results[i].applied
      end
      return results
    end)
    return status or missing and math.max(out.worst, cli.status.failed) or nil
  end,
}
