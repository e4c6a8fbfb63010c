--- `ulpsh pack DESCRIPTION`
--- @type ulp.cli.Command
return {
  summary = "Put live patch metadata into a shared object.",
  configure = function(parser)
    parser:argument "description":description "The description file (.dsc), or what `dump --json` wrote."
    parser:option "-c --container -l --livepatch":argname "<file>":description "The shared object, instead of the description's."
    parser:option "-t --target":argname "<file>"
      :description "The target library, or its symbols from `extract`, instead of the description's."
    parser:option "-o --output":argname "<file>":description "Pack a copy of the shared object under this name."
    parser:option "-d --debuginfo":argname "<file>":description "Separate debug information of the target."
    parser:option "-m --metadata":argname "<file>":description "Also write the metadata as a file of its own (.ulp)."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local clean = require "ulp.render.pretty".clean
    local packed, result = ulp.pack(options.description, {
      container = options.container, target = options.target, output = options.output, debuginfo = options.debuginfo,
      metadata = options.metadata,
    })
    if not packed then error(result, 0) end
    local members = packed:record()
    members.changed, members.warnings = result.changed, result.warnings
    out:note("packed", members, clean(packed.path))
    if not out.json then
      for _, warning in ipairs(result.warnings) do io.stderr:write("ulpsh: warning: ", clean(warning), "\n") end
    end
  end,
}
