--- `ulpsh livepatchable FILE|LIBRARY...`
--- @type ulp.cli.Command
return {
  summary = "Tell which functions of a library can be patched, and why the others cannot.",
  configure = function(parser)
    parser:argument "file":args "+":description "Libraries or programs: paths, or names that the loader knows."
    parser:flag "-a --all":description "List every function."
    parser:option "-d --debuginfo":argname "<file>":description "Separate debug information."
    parser:epilog "Ends with 0 if every file has a function that can be patched, else with 1."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local text = require "ulp.livepatchable".text
    local status = 0
    for _, file in ipairs(options.file) do
      local survey, err = ulp.livepatchable(file, {debuginfo = options.debuginfo})
      if not survey then
        out:failure(err)
      else
        if not survey.livepatchable then status = 1 end
        out:note("livepatchable", survey, text(survey, options.all or false))
      end
    end
    return math.max(status, out.worst)
  end,
}
