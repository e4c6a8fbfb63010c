--- @meta
--- What Swift provides in `ulp.core`. Declarations for editors and `help`; never loaded.

--- @class ulp.core
--- @field libpulp_version string of SUSE's interface
--- @field version string
--- @field executable_path string
--- @field stdlib_path string? the directory that holds `ulp.lua`
--- @field runtime_path string? libpulp.so, to be preloaded into programs
--- @field Error table metatable of error tables; see `ulp.error`
local core = {}

--- Opens a process by its PID. Stops nothing; the handle notices when the PID is given to another process.
--- @param pid integer
--- @return ulp.Process?
--- @return ulp.Error? err
function core.attach(pid) end

--- The PIDs of all processes, in order.
--- @return integer[]
function core.pids() end

--- The facts by which processes are chosen, without opening the process; nil if there is none.
--- @param pid integer
--- `state` is one letter, as in proc(5); `inner_pid` the PID inside its own PID namespace, if that is another.
--- @return {pid: integer, comm: string, state: string, uid: integer, user: string, inner_pid: integer?}?
function core.process_facts(pid) end

--- What the path of a process's control group tells of who started it.
--- @param pid integer
--- @return {unit: string?, container_id: string?, container_engine: string?}
function core.control_group(pid) end

--- Whether a file of this name is mapped into a process. A `*` at the end of the name stands for any ending.
--- @param pid integer
--- @param name string file name without directory
--- @return boolean
function core.maps_file(pid, name) end

--- Switches receipts on or off: every change, call and stop then compares the process before and after.
--- @param on boolean
--- @return boolean was
function core.set_receipts(on) end

--- Real-time priority for ulpsh, where it may have it: for one change of one process, and some milliseconds of work more.
--- @param on boolean
--- @return boolean was
function core.hasten(on) end

--- What all receipts of this program have compared, and the differences that only ulpsh can have caused.
--- @return {stops: integer, world_stops: integer, calls: integer, carriers_met: integer, differences: table[]}
function core.receipts() end

--- Opens a container: a shared object with live patch metadata, or a metadata file of its own (`.ulp`) that names one.
--- @param path string
--- @return ulp.Container?
--- @return ulp.Error? err
function core.container(path) end

--- Reads a description file. `container`, `target` and `dependencies` are the paths to be opened: relative ones lead from
--- the working directory, or from the description's own when there is nothing.
--- @param path string
--- @return ulp.Description?
--- @return ulp.Error? err with `line` and `column`, and `mistakes` when there are several
function core.description(path) end

--- Puts live patch metadata into a shared object, as a description file asks for it. `extract`: the symbols of a target that
--- is not there itself.
--- @param description string path
--- @param options? {container: string?, target: string?, debuginfo: string?, extract: table?}
--- @return ulp.Container?
--- @return ulp.PackResult|ulp.Error result or error; with `path`, `line` and `column` for mistakes in the description
function core.pack(description, options) end

--- Puts metadata into a shared object that is given as a table of `ulp.dump`'s form.
--- @param metadata table
--- @param container string
--- @return ulp.Container?
--- @return ulp.PackResult|ulp.Error result or error
function core.embed(metadata, container) end

--- Reads a metadata file.
--- @param path string
--- @return ulp.Dump?
--- @return ulp.Error? err
function core.metadata_file(path) end

--- What is sent to a process to apply a container: its metadata with its path.
--- @param path string of a container or metadata file
--- @return string?
--- @return ulp.Error? err
function core.wire_form(path) end

--- What is sent to a process to revert it.
--- @param path string of a container or metadata file
--- @return string?
--- @return ulp.Error? err
function core.revert_form(path) end

--- Writes a file in one step: it is whole or not there, and keeps mode, owner and attributes of one that it replaces.
--- @param path string
--- @param contents string
--- @return boolean?
--- @return ulp.Error? err
function core.write_file(path, contents) end

--- Merges the nops at patchable entries of a file.
--- @param path string
--- @return ulp.PostResult?
--- @return ulp.Error? err
function core.merge_nops(path) end

--- Which functions of a file can be patched.
--- @param path string
--- @param debuginfo? string
--- @return ulp.Livepatchable?
--- @return ulp.Error? err
function core.patchability(path, debuginfo) end

--- All symbols of a file.
--- @param path string
--- @param debuginfo? string
--- @return ulp.Extract?
--- @return ulp.Error? err
function core.symbols_of(path, debuginfo) end

--- Computes what a change would do, from files and memory, without stopping or changing anything.
--- @param process ulp.Process
--- @param containers ulp.Container[]
--- @param reverts? string[] ids of patches to take back
--- @param options? {unload: boolean?, pin: boolean?, root: string?, deliver: "path"|"memfd"|nil}
--- @return ulp.Plan?
--- @return ulp.Error? err
function core.plan(process, containers, reverts, options) end

--- Starts a program whose input and output Lua holds. It is killed when the handle is closed.
--- @param options {command: string[], env: string[][]?, preload: string[]?, cwd: string?, pty: boolean?, join: boolean?}
--- @return ulp.Child
function core.spawn(options) end

--- Waits until one of the children has output or has ended; at most a slice of 0.2 s, so that Ctrl-C works in between.
--- @param children ulp.Child[]
--- @param seconds number
--- @return integer[] positions of those that are ready
function core.wait_any(children, seconds) end

--- Makes orphans among our descendants our own children.
function core.adopt_orphans() end

--- Kills adopted processes that are not in the list.
--- @param known integer[] PIDs
--- @return integer count
function core.kill_orphans(known) end

--- The effective user of this program.
--- @return integer
function core.user_id() end

--- Seconds on the monotonic clock.
--- @return number
function core.clock() end

--- How many processors this program may run on.
--- @return integer
function core.processors() end

--- Starts a copy of this program that calls `body` and ends. It has what this program has at this moment; what it changes, it
--- changes for itself. It is killed when this program ends. Nil if there can be none.
--- @param body fun(): integer 0 to 254
--- @return ulp.Worker?
function core.worker(body) end

--- Sleeps; returns early when a signal comes in.
--- @param seconds number
function core.sleep(seconds) end

--- The names in a directory, sorted; nil if it is none.
--- @param path string
--- @return string[]?
function core.list_directory(path) end

--- What a path names; a last symbolic link is not followed. Nil if there is nothing.
--- @param path string
--- @return "file"|"directory"|"link"|"other"|nil
function core.file_kind(path) end

--- Whether a file descriptor is a terminal.
--- @param descriptor integer
--- @return boolean
function core.is_terminal(descriptor) end

--- A path without symbolic links.
--- @param path string
--- @return string?
--- @return ulp.Error? err
function core.absolute_path(path) end

--- A new directory that other users can read.
--- @param prefix string
--- @return string?
--- @return ulp.Error? err
function core.make_temporary_directory(prefix) end

--- Removes a file or a directory with all it holds. Does not follow symbolic links.
--- @param path string
function core.remove_tree(path) end

--- The methods and properties of a class, to which Lua code may add methods.
--- @param class string for example "ulp.Process"
--- @return table<string, any>
function core.members(class) end

--- What an error code means and what to do; nil if there is no such code.
--- @param name string
--- @return {name: string, meaning: string, hint: string}?
function core.code(name) end

--- All error codes, in the order of the manual.
--- @return {name: string, meaning: string, hint: string}[]
function core.codes() end
