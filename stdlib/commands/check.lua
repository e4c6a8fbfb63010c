--- `ulpsh check [-p PROCESS] CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Tell whether live patches are applied. Stops nothing.",
  configure = function(parser)
    parser:argument "container":args "+":description "The live patches to look for."
    cli.selection_options(parser)
    cli.receipt_option(parser)
    parser:epilog "Ends with 0 if every patch is applied in every process, with 1 if one is missing, with 5 if one is damaged."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = cli.containers(options.container)
    local missing = false
    local status = cli.each(cli.processes(options, out, cli.users_of(containers[1])), out, function(process)
      local results = {}
      for index, container in ipairs(containers) do
        results[index] = ulp.check(process, container, {receipt = options.receipt or nil})
        missing = missing or not results[index].applied
      end
      return results
    end)
    return status or missing and math.max(out.worst, cli.status.failed) or nil
  end,
}
