--- @meta
--- What Swift provides for processes. Declarations for editors and `help`; never loaded.

--- A handle on a process. It stops nothing; `p:stopped`, `p:call` and `p:switch` do.
--- @class ulp.Process
--- @field pid integer
--- @field exe string path of the executable
--- @field comm string
--- @field state string one letter, as in proc(5)
--- @field uid integer
--- @field user string
--- @field inner_pid integer the PID inside its own PID namespace
--- @field facts table all of these at once, from one look
--- @field start_time integer clock ticks since boot; with the PID it names a process for good
--- @field alive boolean
--- @field replaced boolean whether it has executed another program since it was attached to: this handle is of no use then
--- @field unit string? systemd's unit
--- @field container_id string? a container engine's ID, or the name where the engine has only names
--- @field container_engine string? docker, podman, containerd, cri-o, lxc or systemd-nspawn, if the control group tells
--- @field namespaces table<string, integer>
--- @field threads {tid: integer, name: string, state: string}[]
--- @field maps {first: integer, last: integer, permissions: string, offset: integer, inode: integer, path: string}[]
--- @field libs table in link map order, and by name: `name path bias first last main build_id`
local Process = {}

--- Reads memory.
--- @param address integer
--- @param count integer bytes
--- @return string
function Process:read(address, count) end

--- Writes to memory that the process itself may write.
--- @param address integer
--- @param bytes string
function Process:write(address, bytes) end

--- Writes to memory whatever its protection, as a debugger does. Nothing checks what the bytes mean.
--- @param address integer
--- @param bytes string
function Process:write_text(address, bytes) end

--- Reads the bytes up to a zero byte.
--- @param address integer
--- @param limit? integer longest text, 4096 unless given
--- @return string
function Process:cstring(address, limit) end

--- The address of an exported symbol, as the dynamic loader would find it; nil if there is none.
--- @param name string
--- @param library? string look only here
--- @return integer?
function Process:symbol(name, library) end

--- What lies at an address: library, offset, nearest symbol; nil if it is in no library.
--- @param address integer
--- @return {library: string, offset: integer, symbol: string?, address: integer}?
function Process:describe(address) end

--- Begins a receipt of something that only reads, if receipts are on: see `core.set_receipts`.
--- @return ulp.Observation?
function Process:observe() end

--- Forgets what was learnt of mappings and libraries; the next question reads anew.
function Process:refresh() end

--- Stops all threads, runs `body(threads)`, lets them go on, and returns what `body` returned. Keep it short: the program
--- stands still.
--- @param body fun(threads: ulp.Thread[]): ...
--- @return any ...
function Process:stopped(body) end

--- Whether a loaded object was compiled with patchable entries, by the file that is mapped.
--- @param library string file name
--- @return boolean
function Process:prepared(library) end

--- Calls a function of the process on a thread that is safe to borrow.
--- @param fn integer|string address, or name of an exported function
--- @param arguments? integer[] at most 6
--- @param options? {timeout: number|string|nil, thread: integer?}
--- @return integer value
--- @return number us duration in microseconds
--- @return integer tid the thread that was borrowed
function Process:call(fn, arguments, options) end

--- Stops the world once and switches a staged operation, or says who is in the way.
--- @param operation ulp.Operation
--- @param options? {check: "stack"|"immediate"|nil, max_pause: number|string|nil, settle: boolean?} `settle`: do in the same
---   stop what `Runtime:settle` is for, if it is little; that has nothing left to do then
--- @return {switched: boolean, pause_us: number, threads: integer, blockers: table[]?}
function Process:switch(operation, options) end

--- The runtime in the process.
--- @return ulp.Runtime?
--- @return ulp.Error? err
function Process:runtime() end

--- A process as it was when `observe` was called.
--- @class ulp.Observation
local Observation = {}

--- What differs now. `touches` counts what this program has done meanwhile with which a process can be changed; if that is 0,
--- all differences are in `others`.
--- @return table receipt `stops world_stops calls carriers_met touches differences others`
function Observation:finish() end

--- A thread of a stopped process; it expires when the process goes on.
--- @class ulp.Thread
--- @field tid integer
local Thread = {}

--- The general registers by name.
--- @return table<string, integer>
function Thread:regs() end

--- The frames of the thread's stack, innermost first.
--- @param limit? integer most frames, 64 unless given
--- @return {pc: integer, library: string?, offset: integer?, symbol: string?}[]
function Thread:backtrace(limit) end

--- A program that was started by `core.spawn`. See `ulp.spawn` for the comfortable form.
--- @class ulp.Child
--- @field pid integer
local Child = {}

--- What came; "" if nothing did within the time; nil once the child has closed its output.
--- @param seconds number
--- @return string?
function Child:read(seconds) end

--- Writes to the child's input.
--- @param bytes string
--- @param seconds number
function Child:write(bytes, seconds) end

--- Closes the child's input.
function Child:close_input() end

--- Sends a signal to the child, or to its process group.
--- @param number integer
--- @param group boolean
function Child:signal(number, group) end

--- How the child ended; nil while it goes on.
--- @param seconds number
--- @return "code"|"signal"|"unknown"|nil
--- @return integer?
function Child:wait(seconds) end

--- Kills the child and closes its pipes.
function Child:close() end

--- A copy of this program that does a part of its work. See `core.worker`.
--- @class ulp.Worker
--- @field pid integer
--- @field ended boolean whether it has ended
local Worker = {}

--- Waits for the worker's end.
--- @return integer? status what its body returned; nil if it did not come to that
--- @return string? output what it wrote
function Worker:finish() end
