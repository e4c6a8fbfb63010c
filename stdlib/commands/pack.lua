--- `ulpsh pack DESCRIPTION`
--- @type ulp.cli.Command
return {
  summary = "Put live patch metadata into a shared object.",
  configure = function(parser)
    parser:argument "description":description "The description file (.dsc)."
    parser:option "-c --container":argname "<file>":description "The shared object, instead of the description's."
    parser:option "-t --target":argname "<file>":description "The target library, instead of the description's."
    parser:option "-o --output":argname "<file>":description "Pack a copy of the shared object under this name."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local packed = assert(ulp.pack(options.description, {
      container = options.container, target = options.target, output = options.output,
    }))
    out:note("packed", packed:record(), packed.path)
  end,
}
