--- Our codes as SUSE's error numbers, and those numbers' names and words.
---
--- Numbers below 256 are those of errno. The exit status of SUSE's tool is the number modulo 256.
local M = {}

--- @class ulp.names.Number
--- @field name string
--- @field words string what the tool says of it
--- @field skipped? boolean neither patched nor failed: it does not count for the exit status

--- @type table<integer, ulp.names.Number>
M.numbers = {
  [0] = {name = "ENONE", words = "Success"},
  [1] = {name = "EPERM", words = "Operation not permitted"},
  [3] = {name = "ESRCH", words = "No such process", skipped = true},
  [11] = {name = "EAGAIN", words = "Resource temporarily unavailable"},
  [62] = {name = "ETIME", words = "Timer expired"},
  [75] = {name = "EOVERFLOW", words = "Value too large for defined data type"},
  [256] = {name = "EUNKNOWN", words = "Unknown error"},
  [257] = {name = "EBUILDID", words = "Build ID mismatch", skipped = true},
  [258] = {name = "ETARGETHOOK", words = "Unable to hook to target process"},
  [259] = {name = "ENODEBUGTAG", words = "Target process has no DT_DEBUG (static program)"},
  [260] = {name = "ENOLINKMAP", words = "Target process has no link map"},
  [261] = {name = "ENOPHDR", words = "Target process' program headers are unusable"},
  [262] = {name = "ENOPENTRY", words = "Target process has no entry point"},
  [263] = {name = "ENOLIBPULP", words = "Libpulp not found in target process"},
  [264] = {name = "ETHRDATTACH", words = "Unable to attach to target process' threads"},
  [265] = {name = "ETHRDDETTACH", words = "Unable to detach from target process' threads"},
  [266] = {name = "EINVALIDULP", words = "Invalid live patch metadata"},
  [267] = {name = "ENOOLDFUNC", words = "Function to be replaced not found"},
  [268] = {name = "ENONEWFUNC", words = "Replacement function not found"},
  [269] = {name = "ENOMETA", words = "No live patch metadata in the container"},
  [270] = {name = "ESTATE", words = "Unable to record the live patch"},
  [271] = {name = "ENOSTATE", words = "Unable to read libpulp's state"},
  [272] = {name = "ENOTAPPLIED", words = "Live patch not applied"},
  [273] = {name = "EDEPEND", words = "Live patch dependencies not met"},
  [274] = {name = "ENOADDRESS", words = "Unable to find the base address"},
  [275] = {name = "EAPPLIED", words = "Live patch already applied", skipped = true},
  [276] = {name = "ENOTARGETLIB", words = "Target library not loaded", skipped = true},
  [277] = {name = "EHOOKNOTRUN", words = "Hook routine not run"},
  [278] = {name = "ENOPATCHABLE", words = "Function is not livepatchable"},
  [279] = {name = "EWILDNOMATCH", words = "Wildcard matches nothing", skipped = true},
  [280] = {name = "EUSRBLOCKED", words = "Live patching disabled by user", skipped = true},
  [281] = {name = "EOLDLIBPULP", words = "Libpulp in target process is too old"},
  [282] = {name = "EINITFAIL", words = "Libpulp failed to initialize"},
  [283] = {name = "MPROTFAIL", words = "Unable to change page permissions"},
  [284] = {name = "ENOPATCH", words = "No live patches to revert", skipped = true},
  [285] = {name = "EINSNQ", words = "Instruction queue inconsistent"},
  [286] = {name = "EOLDULP", words = "Tool too old for the libpulp in target process"},
  [287] = {name = "EDLOPEN", words = "Failure in dlopen"},
  [288] = {name = "ENOLIBDL", words = "Functions of libdl not found"},
  [289] = {name = "ENOLIBC", words = "Functions of libc not found"},
}

--- What our codes are called on the other side. Whatever is not here is 256.
local of_code = {
  ["process.not_found"] = 3, ["process.gone"] = 3, ["process.zombie"] = 3,
  ["process.permission"] = 258, ["process.traced"] = 264, ["process.stopped"] = 264, ["process.unstoppable"] = 264,
  ["process.frozen"] = 264, ["process.exec"] = 3, ["process.starting"] = 11,
  ["process.word_size"] = 261, ["process.static"] = 259, ["process.foreign_loader"] = 260, ["process.self"] = 258,
  ["memory.unreadable"] = 258, ["memory.unwritable"] = 258,
  ["carrier.none"] = 11, ["call.busy"] = 11, ["call.timeout"] = 62, ["operation.busy"] = 11, ["patch.blocked"] = 11,
  ["switch.max_pause"] = 62, ["seccomp.permission"] = 1,
  ["runtime.missing"] = 263, ["runtime.version"] = 281, ["runtime.disabled"] = 280,
  ["runtime.corrupt"] = 282,
  ["file.unreadable"] = 269, ["elf.not_elf"] = 269, ["elf.unsupported"] = 269, ["elf.malformed"] = 269,
  ["container.no_metadata"] = 269, ["container.malformed"] = 266, ["container.contradiction"] = 268,
  ["container.duplicate"] = 266, ["container.invisible"] = 287, ["container.undeliverable"] = 287, ["container.changed"] = 287,
  ["container.unresolved"] = 287, ["container.stale"] = 287, ["stage.max_carrier"] = 287,
  ["seccomp.forbidden"] = 287, ["seccomp.strict"] = 287, ["seccomp.unknown"] = 287,
  ["operation.pending"] = 11, ["operation.expired"] = 11, ["process.corrupt"] = 260, ["process.shadow_stack"] = 258,
  ["elf.no_build_id"] = 266, ["file.changed"] = 269, ["patch.lost"] = 272,
  ["target.not_loaded"] = 276, ["target.build_id"] = 257, ["target.function_missing"] = 267,
  ["target.function_ambiguous"] = 267, ["entry.not_prepared"] = 278, ["entry.modified"] = 278,
  ["entry.crosses_page"] = 278, ["entry.indirect"] = 278, ["pool.full"] = 285,
  ["patch.not_applied"] = 272, ["patch.dependency"] = 273, ["stage.failed"] = 287, ["stage.symbols"] = 270,
}

--- The number for a code of ours; 0 for none.
--- @param code string?
--- @return integer
function M.of(code) return code and (of_code[code] or 256) or 0 end

--- The number for an error, or for a result that is one: its runtime may be switched off for a reason with a number of its own.
--- @param failure {code: string?, error_state: integer?}
--- @return integer
function M.of_error(failure)
  if failure.code == "runtime.disabled" and (failure.error_state or 0) ~= 0 then return failure.error_state end
  return M.of(failure.code)
end

--- What the tool says of a number: SUSE's words, else those of errno.
--- @param number integer
--- @return string
function M.words(number)
  local known = M.numbers[number]
  return known and known.words or ("Unknown error %d"):format(number)
end

--- Whether a number counts as skipped rather than failed.
--- @param number integer
--- @return boolean
function M.is_skipped(number)
  local known = M.numbers[number]
  return known ~= nil and known.skipped == true
end

--- The exit status for the numbers of several failures, OR-ed. SUSE's tool cuts it to eight bits, so that 256 reads as
--- success; ours says 1 then.
--- @param number integer
--- @return integer
function M.status(number)
  if number == 0 then return 0 end
  local low = number & 0xff
  return low == 0 and 1 or low
end

return M
