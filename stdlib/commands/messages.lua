--- `ulpsh messages [-p PROCESS]`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Show what the runtime in a process has to say. Stops nothing.",
  configure = function(parser)
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local clean = require "ulp.render.pretty".clean
    return cli.each(cli.processes(options, out, {runtime = true}), out, function(process)
      for line in ulp.messages(process):gmatch "[^\n]+" do
        out:note("message", {pid = process.pid, comm = process.comm, text = line}, ("[%d] %s"):format(process.pid, clean(line)))
      end
    end)
  end,
}
