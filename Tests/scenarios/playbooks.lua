-- Playbooks are found by name, explain themselves, need only the public library, and work as a copy anywhere.
local t = require "ulp.scenario"
local core = require "ulp.core"
local json = require "dkjson"

local function run(code, ...)
  local tool <close> = t.ulpsh {"run", timeout = 20, ...}
  tool:expect_exit(code)
  return tool:drain()
end

local list = t.ok(json.decode(run(0, "--json")), "the list as JSON").playbooks
t.ok(#list >= 2, "there are playbooks")
local names = {}
for _, entry in ipairs(list) do
  names[entry.name] = true
  t.ok(run(0):find(entry.path, 1, true), "the list names the file")
  local source = t.read_file(entry.path)
  local header = source:match "^#!/usr/bin/env ulpsh\n(.-)\n[^-]"
  local usage = "usage:    ulpsh run " .. entry.name
  for _, word in ipairs {entry.name .. ": ", "category: ", usage, "exit status: ", "$ ulpsh run"} do
    t.ok(header:find(word, 1, true), ("the header of %s has '%s'"):format(entry.name, word))
  end
  t.ok(header:find "category: safe" or header:find "category: intrusive", "its category")
  t.eq(entry.summary, header:match "^%-%-%- %w+: ([^\n]*)", "the summary")
  for module in source:gmatch 'require%s*%(?%s*["\']([^"\']+)' do
    t.ok(module == "ulp" or module == "argparse" or module == "dkjson", "it requires what anybody can: " .. module)
  end
  -- Every option is explained above, and nothing else is.
  local help = run(0, entry.name, "--help")
  for option in source:gmatch 'parser:%a+ "[^"]-(%-%-[%w-]+)"' do
    t.ok(header:find(option, 1, true) and help:find(option, 1, true), "explained: " .. option)
  end
  for option in header:gmatch "%s(%-%-%l[%w-]*)" do t.ok(help:find(option, 1, true), "an option: " .. option) end

  local copy = t.write_file(t.directory() .. "/my_" .. entry.name .. ".lua", source)
  local tool <close> = t.spawn {core.executable_path, copy, "--help", cwd = "/", timeout = 20}
  tool:expect "Usage: "
  tool:expect_exit(0)
end
t.ok(names.canary and names.report, "canary and report")

t.ok(run(2, "nonesuch"):find("nonesuch", 1, true), "what is not there is named")
t.ok(run(2, "../playbooks/canary"):find "no playbook", "a name, not a path")
t.ok(run(0, "--help"):find "playbook", "help")
t.ok(run(2, "canary", "--nonesuch"):find "Usage: canary.lua", "its own usage")
