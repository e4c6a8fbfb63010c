--- Patches whose references are given in every way a description knows: offsets left out, and written out.
local t = require "ulp.scenario"

local M = {}

--- The value of a symbol, as readelf prints it, in a file of the targets or by its path.
---@param file string
---@param name string
---@return integer
function M.offset(file, name)
  local child <close> = t.spawn {"readelf", "-sW", file:sub(1, 1) == "/" and file or t.path(file)}
  child:expect_exit(0)
  for line in child:drain():gmatch "[^\n]+" do
    local value, symbol = line:match "^%s*%d+: (%x+) .* (%S+)$"
    if symbol == name then return tonumber(value, 16) end
  end
  error(("%s has no symbol %s"):format(file, name))
end

--- A reference line with the offsets that readelf finds.
---@param mark "#"|"#%"
---@param target string file of the targets
---@param variable string
---@param patch string file of the targets
---@param pointer string
function M.explicit(mark, target, variable, patch, pointer)
  return ("%s%s:%s:%x:0x%x"):format(mark, variable, pointer, M.offset(target, variable), M.offset(patch, pointer))
end

return M
