--- `ulpsh plan [-p PROCESS] CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Show what `trigger` would do, without stopping or changing anything.",
  configure = function(parser)
    parser:argument "container":args "+":description "The live patches."
    cli.selection_options(parser)
    cli.deliver_option(parser)
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = cli.containers(options.container)
    return cli.each(cli.processes(options, out, cli.users_of(containers[1])), out, function(process)
      return (ulp.trigger(process, containers, {dry_run = true, deliver = options.deliver}))
    end)
  end,
}
