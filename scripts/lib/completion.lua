--- Prints the completion of the command line for a shell. usage: ulpsh completion.lua bash|zsh|fish
local cli = require "ulp.cli"

local shell = assert(arg[1], "bash, zsh or fish")
local parser = require "argparse" ("ulpsh")
parser:option "-e":argname "<code>":count "*":description "Run code."
parser:flag "-i":description "Go on at the prompt afterwards."
parser:flag "--json":description "Results and errors as JSON lines."
parser:flag "-V --version":description "Print the version."
for _, name in ipairs(cli.names) do
  local command = cli.load(name)
  local sub = parser:command(name, command.summary)
  if command.configure then command.configure(sub) end
  sub:flag "--json":description "Print results and errors as JSON lines."
end
print(parser["get_" .. shell .. "_complete"](parser))
