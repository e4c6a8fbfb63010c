--- `ulpsh replace [-p PROCESS] LIBRARY CONTAINER...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Apply live patches in place of all others of a library.",
  configure = function(parser)
    parser:argument "library":description "The target library whose patches are taken back, for example libz.so.1."
    parser:argument "container":args "+":description "The live patches to apply instead."
    cli.selection_options(parser)
    cli.change_options(parser)
    cli.pin_option(parser)
    parser:epilog "Without -p: every process that has the library loaded."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local containers = cli.containers(options.container)
    return cli.each(cli.processes(options, out, {lib = options.library}), out, function(process)
      return ulp.replace(process, options.library, containers, cli.change(options))
    end, true)
  end,
}
