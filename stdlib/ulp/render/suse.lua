--- The lines that SUSE's `ulp` prints, from our result tables. Scripts match them: no blank may change.
local M = {}

local numbers = require "ulp.names.numbers"
local clean = require "ulp.render.pretty".clean

local colours = {SUCCESS = "\27[32m", SKIPPED = "\27[33m", FAILED = "\27[31m"}

--- A verdict word, in its colour if asked for.
local function verdict(word, colour)
  return colour and colours[word] .. word .. "\27[0m" or word
end

--- @class ulp.names.Outcome what became of one container in one process
--- @field container string path as it was typed, or what was reverted
--- @field number integer SUSE's error number; 0 is success
--- @field words? string instead of the number's own

local function words_of(outcome) return clean(outcome.words or numbers.words(outcome.number)) end

--- A patch that is for another library or another build of it is not worth a line.
local function is_noteworthy(outcome) return outcome.number ~= 257 and outcome.number ~= 276 end

--- The one line of a process for which one thing happened.
local function summary_line(head, outcome, colour)
  if outcome.number == 0 then
    return ("%s: %s %s"):format(head, verdict("SUCCESS", colour), clean(outcome.container))
  elseif numbers.is_skipped(outcome.number) then
    return ("%s: %s %s"):format(head, verdict("SKIPPED", colour), words_of(outcome))
  end
  return ("%s: %s %s: %s"):format(head, verdict("FAILED", colour), clean(outcome.container), words_of(outcome))
end

--- A line in the list of a process. Here only what is for another library counts as skipped.
local function list_line(outcome, colour)
  if outcome.number == 0 then return ("    %s %s"):format(verdict("SUCCESS", colour), clean(outcome.container)) end
  local word = is_noteworthy(outcome) and "FAILED" or "SKIPPED"
  return ("    %s %s: %s"):format(verdict(word, colour), clean(outcome.container), words_of(outcome))
end

--- What `trigger` says of one process; nil if there is nothing worth a line.
--- @param comm string
--- @param pid integer
--- @param outcomes ulp.names.Outcome[] in the order in which they were tried
--- @param options {summarize: boolean, colour: boolean}
--- @return string?
function M.process(comm, pid, outcomes, options)
  local noteworthy = {}
  for _, outcome in ipairs(outcomes) do
    if is_noteworthy(outcome) then noteworthy[#noteworthy + 1] = outcome end
  end
  if #noteworthy == 0 then return nil end
  local head = ("  %s (pid: %d)"):format(clean(comm), pid)
  if options.summarize and #noteworthy == 1 then return summary_line(head, noteworthy[1], options.colour) end
  local lines, listed = {head .. ":"}, options.summarize and noteworthy or outcomes
  for index = #listed, 1, -1 do lines[#lines + 1] = list_line(listed[index], options.colour) end
  return table.concat(lines, "\n")
end

--- The last line of `trigger`; nil if there was nothing to count.
--- @param patched integer
--- @param skipped integer
--- @param failed integer
--- @return string?
function M.totals(patched, skipped, failed)
  if patched + skipped + failed == 0 then return nil end
  return ("ulp: Processes patched: %d, Skipped: %d, Failed: %d."):format(patched, skipped, failed)
end

--- The date as asctime(3) writes it, with its newline.
local function asctime(seconds) return os.date("%a %b %e %H:%M:%S %Y\n", seconds) end

local function patch_text(patch)
  local name = clean((patch.path or "?"):match "[^/]*$")
  if (patch.time or 0) == 0 then return "      livepatch: " .. name end
  local text = ("      livepatch: %s loaded on %s"):format(name, asctime(patch.time))
  if #(patch.labels or {}) == 0 then return text end
  local labels = {}
  for index, label in ipairs(patch.labels) do labels[index] = clean(label) .. " " end
  return text .. "        bug labels: " .. table.concat(labels) .. "\n"
end

--- What `patches` says of one process.
--- @param process {pid: integer, comm: string, error_state: integer, objects: table[]}
--- @param options {build_ids: boolean}
--- @return string
function M.patches(process, options)
  local status = process.error_state == 0 and "enabled" or process.error_state == 280 and "disabled by user"
    or ("disabled (internal error: %s)"):format(numbers.words(process.error_state))
  local parts = {
    ("PID: %d, name: %s\n"):format(process.pid, clean(process.comm)),
    ("  Livepatching status: %s\n"):format(status),
    "  Livepatchable libraries:\n",
  }
  for _, object in ipairs(process.objects) do
    parts[#parts + 1] = ("    in %s%s%s:\n"):format(clean(object.name),
      options.build_ids and object.build_id and (" (%s)"):format(object.build_id) or "",
      object.version and (" (version %s)"):format(clean(object.version)) or "")
    for _, patch in ipairs(object.patches) do parts[#parts + 1] = patch_text(patch) end
  end
  parts[#parts + 1] = "\n"
  return table.concat(parts)
end

--- What `dump` says of a container.
--- @param record table what `ulp.container(path):record()` returns
--- @param options {build_id: boolean, revert: boolean}
--- @return string
function M.dump(record, options)
  local lines = {}
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  if options.build_id then
    add("%s", record.target_build_id)
  else
    add("patch id: %s", record.id:sub(1, 40))
    add("so filename: %s", clean(record.path))
    add("")
    add("* build id: %s", record.target_build_id)
    add("* name: %s", clean(record.target))
    add("* units: %d", options.revert and 0 or #record.units)
    add("")
    for _, unit in ipairs(options.revert and {} or record.units) do
      add("** old_fname: %s", clean(unit.old_name))
      add("** new_fname: %s", clean(unit.new_name))
      -- What %p of printf(3) makes of it.
      add("** old_faddr: %s", unit.old_address == 0 and "(nil)" or ("0x%x"):format(unit.old_address))
      add("")
    end
  end
  add("static references: %d", options.revert and 0 or #record.references)
  for _, reference in ipairs(options.revert and {} or record.references) do
    add("*** ref_name: %s", clean(reference.name))
    add("*** target_offset: %x", reference.target_offset)
    add("*** patch_offset: %x", reference.patch_offset)
    add("*** tls variable: %s", reference.tls and "yes" or "no")
    add("")
  end
  local comments = record.comments or ""
  if comments ~= "" then lines[#lines + 1] = "* comments: \n" .. comments:gsub("[^\n]+", clean) end
  return table.concat(lines, "\n") .. (comments:sub(-1) == "\n" and "" or "\n")
end

--- A warning as the tool writes it to standard error.
--- @param text string
--- @return string
function M.warning(text)
  return ("[%s] ulp: %s\n"):format(os.date "%Y-%m-%d %H:%M:%S", (text:gsub("[^\n]+", clean)))
end

return M
