--- `ulpsh dump FILE...`
--- @type ulp.cli.Command
return {
  summary = "Show what is in live patches.",
  configure = function(parser)
    parser:argument "file":args "+":description "Containers, or metadata files of their own (.ulp, .rev)."
    parser:flag "-b --build-id":description "Only the build ID of the target."
    parser:epilog "With --json, `pack` makes the same metadata of the output again, byte for byte."
  end,
  run = function(options, out)
    local ulp = require "ulp"
    local text = require "ulp.dump".text
    for index, path in ipairs(options.file) do
      local dump, err = ulp.dump(path)
      if not dump then
        out:failure(err)
      elseif options.build_id then
        out:note("dump", {path = dump.path, target_build_id = dump.target_build_id}, dump.target_build_id)
      else
        out:note("dump", dump, (index > 1 and "\n" or "") .. text(dump))
      end
    end
  end,
}
