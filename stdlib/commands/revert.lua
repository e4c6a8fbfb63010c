--- `ulpsh revert [-p PROCESS] CONTAINER|ID...`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Take live patches back.",
  configure = function(parser)
    parser:argument "patch":args "+":description "Live patches, or their ids as `patches` shows them; all or none."
    cli.selection_options(parser)
    cli.change_options(parser)
    parser:epilog "Without -p: every process that has the runtime and, for a file, its target library."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local patches, filter = {}, {runtime = true}
    for index, word in ipairs(options.patch) do
      if word:match "^%x+$" and #word == 64 then
        patches[index] = word
      else
        patches[index] = cli.containers {word}[1]
        if index == 1 then filter = cli.users_of(patches[1]) end
      end
    end
    return cli.each(cli.processes(options, out, filter), out, function(process)
      return ulp.revert(process, patches, cli.change(options))
    end)
  end,
}
