--- Post-processing of prepared libraries.
local M = {}

local core = require "ulp.core"

--- What `ulp.post` did.
--- @class ulp.PostResult
--- @field path string
--- @field changed boolean
--- @field merged {name: string, address: integer}[] functions whose two nops became one instruction
--- @field already integer functions that had one instruction before
--- @field skipped {address: integer, reason: string}[] places that were left alone; `address` is that of the first nop
--- @field warnings string[]

--- Merges the two one-byte nops at every patchable entry of a library into one instruction, so that no thread can ever
--- stand between them. The file is replaced in one step; running programs keep the old one.
---
---     ulp.post "libdozen.so.0"
---
--- @param path string
--- @return ulp.PostResult?
--- @return ulp.Error? err
function M.post(path) return core.merge_nops(path) end

return M
