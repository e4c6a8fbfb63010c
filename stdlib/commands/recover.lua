--- `ulpsh recover [PROCESS...]`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Finish or undo what an ulpsh that died has left behind.",
  configure = function(parser)
    parser:argument "pid":args "*":description "Process IDs or names; the same as -p."
    cli.selection_options(parser)
    cli.receipt_option(parser)
    cli.seccomp_option(parser)
  end,
  run = function(options, out)
    options.process = options.process or {}
    for _, word in ipairs(options.pid or {}) do table.insert(options.process, word) end
    return cli.each(cli.processes(options, out, {runtime = true}), out, function(process)
      local runtime = assert(process:runtime())
      local result = {pid = process.pid, comm = process.comm, state = "already"}
      -- Also when nothing is pending: a container may be left that nobody came to unload.
      local recovered = require "ulp.transition".with_receipts(options.receipt, runtime.recover, runtime, {
        seccomp = options.seccomp,
      })
      result.receipt, recovered.receipt = recovered.receipt, nil
      if recovered.action ~= "none" then result.recovered, result.state = recovered, "done" end
      return result
    end)
  end,
}
