--- `ulpsh reverse FILE`
--- @type ulp.cli.Command
return {
  summary = "Write the metadata to take a patch back as a file of its own.",
  configure = function(parser)
    parser:argument "file":description "A container, or a metadata file (.ulp)."
    parser:option "-o --output":argname "<file>":description "The file to write; else FILE with the ending .rev."
  end,
  run = function(options, out)
    local result = assert(require "ulp".reverse(options.file, {output = options.output}))
    out:note("reversed", result, require "ulp.render.pretty".clean(result.path))
  end,
}
