--- `ulpsh post FILE...`
--- @type ulp.cli.Command
return {
  summary = "Merge the two nops at patchable entries of libraries into one instruction.",
  configure = function(parser)
    parser:argument "file":args "+":description "Libraries or programs. Running ones keep what they have loaded."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local clean = require "ulp.render.pretty".clean
    for _, path in ipairs(options.file) do
      local result, err = ulp.post(path)
      if not result then
        out:failure(err)
      else
        local lines = {("%s: %d merged, %d already, %d left alone"):format(
          clean(result.path), #result.merged, result.already, #result.skipped)}
        for _, one in ipairs(result.skipped) do lines[#lines + 1] = ("  0x%x: %s"):format(one.address, clean(one.reason)) end
        for _, warning in ipairs(result.warnings) do lines[#lines + 1] = "  warning: " .. clean(warning) end
        out:note("post", result, table.concat(lines, "\n"))
      end
    end
  end,
}
