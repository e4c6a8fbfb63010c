--- `ulpsh revert [-p PROCESS] CONTAINER|ID...|--all LIBRARY`
local cli = require "ulp.cli"

--- @type ulp.cli.Command
return {
  summary = "Take live patches back.",
  configure = function(parser)
    parser:argument "patch":args "*":description "Live patches, or their ids as `patches` shows them; all or none."
    parser:option "--all":argname "<library>":description "Every patch of this library instead, for example libz.so.1."
    cli.selection_options(parser)
    cli.change_options(parser)
    parser:epilog "Without -p: every process that has the runtime and, for a file or --all, the library."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    if (options.all == nil) == (#options.patch == 0) then
      require "ulp.error".raise("usage", "name live patches, or a library with --all", {hint = "see `ulpsh help revert`"})
    end
    if options.all then
      return cli.each(cli.processes(options, out, {lib = options.all}), out, function(process)
        return ulp.revert_all(process, options.all, cli.change(options))
      end, true)
    end
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
    end, true)
  end,
}
