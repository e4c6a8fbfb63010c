--- `ulpsh set_patchable enable|disable [-p PROCESS]`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Switch live patching in processes on or off. What is patched stays patched.",
  configure = function(parser)
    parser:argument "setting":choices {"enable", "disable"}
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local ulp = require "ulp"
    return cli.each(cli.processes(options, out, {runtime = true}), out, function(process)
      return ulp.set_patchable(process, options.setting == "enable")
    end)
  end,
}
