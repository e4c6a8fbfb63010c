--- `ulpsh trigger [-p PROCESS] CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Apply live patches to running processes.",
  configure = function(parser)
    parser:argument "container":args "+":description "The live patches, applied all or none."
    cli.selection_options(parser)
    cli.change_options(parser)
    parser:epilog "Without -p: every process that has the first patch's target library loaded."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = {}
    for i, path in ipairs(options.container) do containers[i] = assert(ulp.container(path)) end
    local processes = cli.processes(options, out, {lib = containers[1].target})
    return cli.each(processes, out, function(process)
      return ulp.trigger(process, #containers == 1 and containers[1] or containers, cli.change(options))
    end)
  end,
}
