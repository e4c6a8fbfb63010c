--- `ulpsh plan [-p PROCESS] CONTAINER`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Show what `trigger` would do, without stopping or changing anything.",
  configure = function(parser)
    parser:argument "container":description "The live patch."
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local container = assert(ulp.container(options.container))
    local processes = cli.processes(options, out, {lib = container.target})
    return cli.each(processes, out, function(process)
      return ulp.trigger(process, container, {dry_run = true})
    end)
  end,
}
