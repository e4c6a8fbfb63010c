--- `ulpsh recover PROCESS...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Finish or undo what an ulpsh that died has left behind.",
  configure = function(parser)
    parser:argument "pid":args "*":description "Process IDs; the same as -p."
    cli.selection_options(parser)
  end,
  run = function(options, out)
    options.process = options.process or {}
    for _, word in ipairs(options.pid or {}) do table.insert(options.process, word) end
    local processes = cli.processes(options, out, {runtime = true})
    return cli.each(processes, out, function(process)
      local result = assert(process:runtime()):recover()
      result.state, result.comm = result.action == "none" and "already" or "done", process.comm
      return result
    end)
  end,
}
