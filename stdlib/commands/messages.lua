--- `ulpsh messages -p PROCESS`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Show what the runtime in a process has to say.",
  configure = function(parser)
    cli.selection_options(parser)
  end,
  run = function(options, out)
    local processes = cli.processes(options, out, {runtime = true})
    if #processes == 0 then return out.worst > 0 and out.worst or cli.status.nothing end
    local clean = require "ulp.render.pretty".clean
    for _, process in ipairs(processes) do
      local done, messages = cli.try(function()
        local lines = {}
        for line in require "ulp".messages(process):gmatch "[^\n]+" do lines[#lines + 1] = line end
        return lines
      end)
      if not done then
        out:result(cli.result_of(messages, process))
      else
        local lines = type(messages) == "table" and messages or {messages}
        for _, line in ipairs(lines) do
          out:note("message", {pid = process.pid, text = line}, ("[%d] %s"):format(process.pid, clean(line)))
        end
      end
    end
  end,
}
