--- JSON files that users give: read whole, within bounds, checked by whoever uses them.
local M = {}

local err = require "ulp.error"

--- Larger files are refused: the symbols of the largest libraries have a tenth of it.
M.limit = 64 << 20

--- Whether a file begins like a JSON object. False also for one that cannot be read.
--- @param path string
--- @return boolean
function M.is_object(path)
  local file = io.open(path, "rb")
  local start = file and file:read(64)
  if file then file:close() end
  return start ~= nil and start:match "^%s*{" ~= nil
end

--- The error for a file that holds something else than expected.
--- @param path string
--- @param what string
--- @return ulp.Error
function M.malformed(path, what)
  return err.new("json.malformed", ("%s: %s"):format(path, what), {path = path})
end

--- The object in a file.
--- @param path string
--- @return table?
--- @return ulp.Error? err
function M.read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, err.new("file.unreadable", message, {path = path}) end
  local text = file:read(M.limit + 1)
  file:close()
  if not text then return nil, M.malformed(path, "it cannot be read, or is empty") end
  if #text > M.limit then return nil, M.malformed(path, ("it is larger than %d MB"):format(M.limit >> 20)) end
  if not utf8.len(text) then return nil, M.malformed(path, "it is not UTF-8") end
  -- Deep nesting ends in an error of the decoder's, not in a result.
  local done, object, place, problem = pcall(require "dkjson".decode, text, 1, nil, nil)
  if not done then return nil, M.malformed(path, "it is nested too deeply") end
  if problem then return nil, M.malformed(path, problem) end
  if type(object) ~= "table" then return nil, M.malformed(path, "it is no object") end
  local rest = text:match("^%s*()", place)
  if rest <= #text then return nil, M.malformed(path, ("something follows the object, at byte %d"):format(rest)) end
  return object
end

--- Runs `body`, whose complaints about arguments are complaints about the file.
--- @param path string
--- @param body fun(): any, any
--- @return any
--- @return any
function M.checked(path, body)
  local done, result, second = pcall(body)
  if done then return result, second end
  if not err.is(result, "usage") then error(result, 0) end
  return nil, M.malformed(path, result.message:gsub("^bad argument #%d+ '[^']*' to '[^']*'", "what is in it"), nil)
end

return M
