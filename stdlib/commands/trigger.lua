--- `ulpsh trigger [-p PROCESS] CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Apply live patches to running processes.",
  configure = function(parser)
    parser:argument "container":args "+":description "The live patches, applied all or none."
    cli.selection_options(parser)
    cli.change_options(parser)
    cli.pin_option(parser)
    parser:epilog "Without -p: every process that has the first patch's target library loaded."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = cli.containers(options.container)
    return cli.each(cli.processes(options, out, cli.users_of(containers[1])), out, function(process)
      return (ulp.trigger(process, containers, cli.change(options)))
    end, true)
  end,
}
