--- `ulpsh extract LIBRARY`
--- @type ulp.cli.Command
return {
  summary = "Write the symbols of a library as JSON, against which patches can be packed.",
  configure = function(parser)
    parser:argument "library":description "The library or program."
    parser:option "-o --output":argname "<file>":description "The JSON file to write; else standard output."
    parser:option "-d --debuginfo":argname "<file>":description "Separate debug information of the same build."
  end,
  run = function(options, out)
    local extract = assert(require "ulp".extract(options.library, {output = options.output, debuginfo = options.debuginfo}))
    if not options.output then
      io.stdout:write(require "ulp.extract".json(extract), "\n")
      return
    end
    local members = {path = extract.path, output = extract.output, name = extract.name, build_id = extract.buildid,
      symbols = #extract.symbols, debug_file = extract.debug_file}
    out:note("extracted", members, ("%s: %d symbols"):format(require "ulp.render.pretty".clean(extract.output), #extract.symbols))
  end,
}
