--- Compiles Lua modules, so that a start reads them and parses nothing.
---
--- usage: ulpsh compile.lua TO FROM NAME MODULE...
---
--- Compiles FROM/MODULE to TO/MODULE; MODULE is a path such as `ulp/trigger.lua`. Tracebacks call it NAME/MODULE, with line
--- numbers; a module without NAME ("") gets none, and is read in two thirds of the time. Parsing argparse alone takes as
--- long as starting Lua.
local to, from, name = arg[1], arg[2], arg[3]
for index = 4, #arg do
  local module = arg[index]
  local source = assert(io.open(("%s/%s"):format(from, module), "rb"))
  local chunk = assert(load(source:read "a", ("@%s/%s"):format(name, module), "t"))
  source:close()
  local out = assert(io.open(("%s/%s"):format(to, module), "wb"))
  assert(out:write(string.dump(chunk, name == "")))
  assert(out:close())
end
