--- @meta
--- What Swift provides in `ulp.core`. Declarations for editors and `help`; never loaded.

--- @class ulp.core
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
--- @return {pid: integer, comm: string, state: string, uid: integer, user: string}?
function core.process_facts(pid) end

--- Whether a file of this name is mapped into a process. A `*` at the end of the name stands for any ending.
--- @param pid integer
--- @param name string file name without directory
--- @return boolean
function core.maps_file(pid, name) end

--- Switches receipts on or off: every change, call and stop then compares the process before and after.
--- @param on boolean
--- @return boolean was
function core.set_receipts(on) end

--- What all receipts of this program have compared, and the differences that only ulpsh can have caused.
--- @return {stops: integer, world_stops: integer, calls: integer, carriers_met: integer, differences: table[]}
function core.receipts() end

--- Opens a container: a shared object with live patch metadata.
--- @param path string
--- @return ulp.Container?
--- @return ulp.Error? err
function core.container(path) end

--- Puts live patch metadata into a shared object, as a description file asks for it.
--- @param description string path
--- @param options? {container: string?, target: string?}
--- @return ulp.Container?
--- @return ulp.Error? err with `path`, `line` and `column` for mistakes in the description
function core.pack(description, options) end

--- Computes what a change would do, from files and memory, without stopping or changing anything.
--- @param process ulp.Process
--- @param containers ulp.Container[]
--- @param reverts? string[] ids of patches to take back
--- @param options? {unload: boolean?, pin: boolean?}
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

--- Seconds on the monotonic clock.
--- @return number
function core.clock() end

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
