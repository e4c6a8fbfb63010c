--- `ulpsh run [PLAYBOOK [ARGUMENTS]]`
local cli = require "ulp.cli"
local core = require "ulp.core"

--- Where playbooks are: installed beside the standard library, in the source tree under `scripts`.
local function directories()
  local parent = core.stdlib_path and core.stdlib_path:match "^(.*)/[^/]*$"
  return parent and {parent .. "/playbooks", parent .. "/scripts/playbooks"} or {}
end

--- The playbooks that there are: names in order, and their files by name.
local function playbooks()
  local names, files = {}, {}
  for _, directory in ipairs(directories()) do
    for _, file in ipairs(core.list_directory(directory) or {}) do
      local name = file:match "^(.*)%.lua$"
      if name and not files[name] then names[#names + 1], files[name] = name, directory .. "/" .. file end
    end
  end
  return names, files
end

--- What the first comment line of a playbook says of it: `--- NAME: summary`.
local function summary_of(path)
  for line in io.lines(path) do
    local summary = line:match "^%-%-%- [^:]*: (.*)$"
    if summary then return summary end
    if not line:match "^#!" then break end
  end
  return ""
end

local function list(out)
  local names, files = playbooks()
  local lines, found = {"usage: ulpsh run PLAYBOOK [OPTIONS] [ARGUMENTS]", ""}, {}
  for index, name in ipairs(names) do
    found[index] = {name = name, path = files[name], summary = summary_of(files[name])}
    lines[#lines + 1] = ("  %-10s %s\n%13s%s"):format(name, found[index].summary, "", files[name])
  end
  lines[#lines + 1] = "\n`ulpsh run PLAYBOOK --help` explains one. They are scripts: copy them, and change the copy."
  out:note("playbooks", {playbooks = found}, table.concat(lines, "\n"))
end

--- @type ulp.cli.Command
return {
  summary = "Run a playbook, a script for a task such as a rollout; without a name, list them.",
  configure = function(parser)
    parser:argument "playbook":args "?":description "The playbook's name. What follows it are the playbook's arguments."
    parser:argument "argument":args "*":description "See `ulpsh run PLAYBOOK --help`."
    parser:handle_options(false)
  end,
  run = function(options, out)
    local name = options.playbook
    if not name or name == "--json" then
      if name then out = cli.output(true) end
      return list(out)
    end
    if name == "--help" or name == "-h" then
      return out:note("help", {}, cli.parser("run", cli.load "run"):get_help())
    end
    local path = select(2, playbooks())[name]
    if not path then
      require "ulp.error".raise("usage", ("there is no playbook '%s'"):format(name), {hint = "`ulpsh run` lists them"})
    end
    arg = table.move(options.argument, 1, #options.argument, 1, {[0] = path}) -- luacheck: ignore 121
    assert(loadfile(path, "t"))(table.unpack(options.argument))
  end,
}
