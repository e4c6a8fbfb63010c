-- The manual pages explain every command and option that help lists, under every name of the program; mandoc(1) has no
-- complaint, and each page names the others.
local t = require "ulp.scenario"
local cli = require "ulp.cli"

local function page(name) return t.read_file(("%s/../../man/%s"):format(t.here, name)) end

--- The text of a page from one mark to another.
local function part(text, from, to)
  local first = t.ok(text:find(from, 1, true), from)
  local last = text:find(to, first + #from, true)
  return text:sub(first, last or -1)
end

--- Whether a piece of a page has an option by one of its names.
local function has(text, names)
  for _, name in ipairs(names) do
    local letter = name:match "^%-(%w)$"
    if name:find "^%-%-" and text:find("Fl " .. name:sub(2):gsub("%p", "%%%0") .. "%f[^%w-]") then return true end
    if letter and text:find("Fl " .. letter .. "%f[^%w-]") then return true end
  end
  return false
end

-- ulpsh(1).
local text = page "ulpsh.1"
local shared = part(text, "\nThe\n.Ar selection\nis\n", "\n.Sh ENVIRONMENT")
for _, name in ipairs(cli.names) do
  local at = t.ok(text:find("\n%.It I?C?[cm] " .. name .. "%f[^%w_]"), name .. " is in ulpsh(1)")
  local stop = text:find("\n%.It Ic %l", at + 1) or text:find("\n.El", at, true)
  local own = text:sub(at, stop)
  for _, option in ipairs(cli.parser(name, cli.load(name))._options) do
    local names = option._aliases
    local is_common = names[1] == "-h" or names[1] == "--json" or option._hidden
    t.ok(is_common or has(own, names) or has(shared, names), ("%s of %s is in ulpsh(1)"):format(names[#names], name))
  end
end

-- ulp(1): every option of every command, in the command's own part or among those of all.
text = page "ulp.1"
local commands = part(text, "\n.Sh COMMANDS", "\n.Sh EXIT STATUS")
local common = part(text, "\n.Sh DESCRIPTION", "\n.Sh COMMANDS")
local program = require "ulp.names.program"
for _, name in ipairs(program.names) do
  local at = t.ok(commands:find("\n%.It Cm " .. name .. "%f[^%w_]"), name .. " is in ulp(1)")
  local own = commands:sub(at, (commands:find("\n%.It Cm %l", at + 1)))
  for _, option in ipairs(program.options_of(name)) do
    local names = {"--" .. option.long, option.short and "-" .. option.short}
    t.ok(has(own, names) or has(common, names), ("--%s of %s is in ulp(1)"):format(option.long, name))
  end
end
for name in part(text, "\n.Nm ulp ,", "\n.Nd"):gmatch "ulp_(%l+)" do
  t.ok(require "ulp.names.talk".names[name], ("there is a program ulp_%s"):format(name))
end
for name in pairs(require "ulp.names.talk".names) do
  t.ok(text:find(".Nm ulp_" .. name, 1, true), name .. " is in ulp(1)")
end

-- All pages.
local names = {"ulp.1", "ulpsh.1", "ulp-description.5", "libpulp.7"}
for _, name in ipairs(names) do
  local see = part(page(name), "\n.Sh SEE ALSO", "\n.Sh NOTHING")
  for _, other in ipairs(names) do
    local is_there = see:find((".Xr %s %s"):format(other:match "^(.*)%.(%d)$"), 1, true) ~= nil
    t.eq(is_there, other ~= name, name .. " refers to " .. other)
  end
  local path = ("%s/../../man/%s"):format(t.here, name)
  local lint <close> = t.spawn {"/usr/bin/mandoc", "-Tlint", "-W", "style", path, timeout = 20}
  lint:wait()
  -- Whether other pages are installed says nothing about this one.
  for line in lint:drain():gmatch "[^\n]+" do
    t.ok(line:find "referenced manual not found" or line:find "outdated mandoc.db", line)
  end
end
