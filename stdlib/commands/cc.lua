--- `ulpsh cc -t TARGET [OPTIONS] SOURCE...`
--- @type ulp.cli.Command
return {
  summary = "Compile C or C++ into a live patch.",
  configure = function(parser)
    parser:argument "source":args "+":description "C or C++ files."
    parser:option "-t --target":argname "<file>":description "The library or program to be patched."
    parser:option "-u --unit":argname "<old:new>":count "*"
      :description "Replace OLD of the target by NEW; else the source says it (ulp.h)."
    parser:option "-r --reference":argname "<name:pointer>":count "*"
      :description "A variable of the target and the patch's pointer to it; % before a thread-local one."
    parser:option "-m --comment":argname "<text>":count "*":description "A line kept in the patch."
    parser:option "-o --output":argname "<file>":description "The file to be made."
    parser:option "-f --flag":argname "<flag>":count "*":description "A further argument of the compiler: --flag=-O3."
    parser:option "-l --library":argname "<file>":count "*":description "A library to link with."
    parser:option "--kind":choices {"patch", "library", "program"}:description "What is made: patch unless given."
    parser:option "--directory":argname "<dir>":description "Leave the intermediate files and the description there."
    parser:flag "--allow-undefined":description "Accept symbols that only the program may define."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local function some(list) return #list > 0 and list or nil end
    local made, failure, warnings = ulp.cc {
      source = options.source, kind = options.kind, target = options.target, output = options.output, flags = options.flag,
      units = some(options.unit), references = some(options.reference), comment = some(options.comment),
      libraries = options.library, directory = options.directory, undefined = options.allow_undefined and "allow" or nil,
    }
    -- The compiler explains itself best.
    local text = failure and failure.output or warnings or ""
    if not out.json then io.stderr:write((text:gsub("[^\n]+", require "ulp.render.pretty".clean))) end
    if not made then error(failure, 0) end
    if type(made) == "string" then
      out:note("made", {path = made}, made)
    else
      out:note("packed", made:record(), made.path)
    end
  end,
}
