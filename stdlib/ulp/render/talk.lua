--- The words of the original tools, `ulp_trigger` and its siblings, as they were first shown.
local M = {}

M.applied = "ulp: patch already applied"
M.not_applied = "ulp: patch not yet applied"
M.succeeded = "ulp: live patching succeeded"
M.begins = "ulp: beginning live patch application."
M.advertises = "ulp: advertising live patch location to libpulp."
M.runs = "ulp: >>> running libpulp functions within target process..."
M.ran = "ulp: >>> done."
M.busy = "ulp: libc/libdl locks were busy: patch not applied."
M.releases = "ulp: exiting the critical section (process release)."

--- @param pid integer
--- @return string
function M.successful(pid) return ("Ulp: Patching %d successful."):format(pid) end

--- @param pid integer
--- @param attempt integer
--- @return string
function M.failed(pid, attempt) return ("ulp: live patching %d failed (attempt #%d)."):format(pid, attempt) end

return M
