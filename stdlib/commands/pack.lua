--- `ulpsh pack DESCRIPTION`
--- @type ulp.cli.Command
return {
  summary = "Put live patch metadata into a shared object.",
  configure = function(parser)
    parser:argument "description":description "The description file (.dsc)."
    parser:option "-o --output":argname "<file>":description "Where to write the container."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local packed = assert(ulp.pack(options.description, {output = options.output}))
    out:note("packed", packed:record(), packed.path)
  end,
}
