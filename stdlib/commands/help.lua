--- `ulpsh help [COMMAND]`
local cli = require "ulp.cli"

local function list(out)
  local lines = {"usage: ulpsh COMMAND [OPTIONS] [ARGUMENTS]", ""}
  for _, name in ipairs(cli.names) do
    local command = cli.load(name)
    if command then lines[#lines + 1] = ("  %-10s %s"):format(name, command.summary) end
  end
  lines[#lines + 1] = "\n`ulpsh help COMMAND` explains one, `ulpsh --help` the shell's own options."
  out:note("help", {commands = cli.names}, table.concat(lines, "\n"))
end

--- @type ulp.cli.Command
return {
  summary = "List the commands, or explain one.",
  configure = function(parser)
    parser:argument "command":args "?":description "The command to explain."
  end,
  run = function(options, out)
    if not options.command then return list(out) end
    local command = cli.load(options.command)
    if not command then
      require "ulp.error".raise("usage", ("unknown command '%s'"):format(options.command), {hint = "see `ulpsh help`"})
    end
    local text = cli.parser(options.command, command):get_help()
    out:note("help", {command = options.command, text = text}, text)
  end,
}
