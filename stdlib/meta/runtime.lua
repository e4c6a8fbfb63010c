--- @meta
--- What Swift provides for changing a process. Declarations for editors and `help`; never loaded.

--- The runtime in a process: the primitives that workflows are made of.
--- @class ulp.Runtime
--- @field kind "ulpsh"
local Runtime = {}

--- The universe that is in force: its number grows with each change.
--- @return integer
function Runtime:universe() end

--- What the runtime has said since the process started, one message a line.
--- @return string
function Runtime:messages() end

--- The error that made the runtime disable itself; 0 if there is none.
--- @return integer
function Runtime:error_state() end

--- The state of the operation in the process, and the PID of the tool that began it.
--- @return "idle"|"staging"|"staged"|"arming"|"committed"|"settling" state
--- @return integer? tool
function Runtime:state() end

--- The patches that are loaded, newest first; `applied` tells those in force.
--- `state` is `staged`, `applied`, `retired` or `lost` (in force until its library was unloaded; `lost` says how), `keep` why
--- the container is not unloaded of itself.
--- @return table[] patches `id target path deliver state applied lost keep pinned time first last units`
function Runtime:patches() end

--- Loads the containers of a plan on one borrowed thread while the others run. Nothing is in force yet.
--- @param plan ulp.Plan
--- @param options? {timeout: number|string|nil, seccomp: string?, thread: integer?,
---   max_carrier: number|string|nil, max_pause: number|string|nil}
--- @return ulp.Operation operation undone if it is dropped before the switch
function Runtime:stage(plan, options) end

--- Replaces the stubs of a committed operation by direct jumps.
--- @param operation ulp.Operation
--- @return {settled: boolean, pause_us: number}
function Runtime:settle(operation) end

--- Undoes a staged operation.
--- @param operation ulp.Operation
--- @return table[] containers `id path state reason blockers`
function Runtime:abort(operation) end

--- Unloads the containers that went out of force, or retires them and says why. `blockers` are the threads in them. With
--- `wait` nothing is done while there are any, whose containers then have the state `occupied`, and the next call looks again.
--- @param operation ulp.Operation
--- @param options? {unload: boolean?, wait: boolean?, max_carrier: number|string|nil} `unload` true: also those that may still be
---   used; false: none
--- @return table[] containers `id path state reason blockers`
function Runtime:unload(operation, options) end

--- Writes off patches whose target library the program has unloaded, and gives their containers back.
--- @param ids string[]
--- @param options? {seccomp: string?}
--- @return table[] containers `id path state reason lost`
function Runtime:forget(ids, options) end

--- Switches live patching in the process on or off. Raises `runtime.disabled` after an internal error, which this cannot lift.
--- @param enabled boolean
--- @return boolean changed
function Runtime:set_patchable(enabled) end

--- Finishes or undoes the operation of a tool that died.
--- @param options? {timeout: number|string|nil, seccomp: string?, max_pause: number|string|nil, max_carrier: number|string|nil}
--- @return {pid: integer, state: string, what: string, found: string, action: string, tool: integer, unloaded: table[],
---   pause_us: number, receipt: table?} recovered `state` (and `found`): in which state the operation was left;
---   `what`: what was done about it, for people; `action`: the same in one word
function Runtime:recover(options) end

--- A change of one process on its way. Closing it before the switch undoes it.
--- @class ulp.Operation
--- @field pid integer
--- @field phase string
--- @field universe integer the universe that it puts in force
--- @field carrier_us number how long a thread was borrowed
--- @field pause_us number how long the world stood still
--- @field settle_pause_us number the same of the stop that settled it; 0 if the switch's did
--- @field receipt table? `stops world_stops calls carriers_met differences others`, when receipts are on: what ulpsh or the
---   called code has changed, and what others have meanwhile

--- SUSE's libpulp in a process. It has `patches`, `messages`, `error_state`, `set_patchable` as ours does; its `state` is
--- `queued` when a tool died before it had made the writes, or gave up waiting for them, which `recover` then makes or
--- discards.
--- @class ulp.SuseRuntime
--- @field kind "suse"
local SuseRuntime = {}

--- `A.B.C`; nil before 0.3.1, which does not tell.
--- @return string?
function SuseRuntime:version() end

--- @return string
function SuseRuntime:messages() end

--- The error that made the runtime disable itself; 0 if there is none.
--- @return integer
function SuseRuntime:error_state() end

--- @return "idle"|"queued"
function SuseRuntime:state() end

--- Nil: the counter is private.
function SuseRuntime:universe() end

--- The patches in force, newest first.
--- @return table[] patches `id target path applied time units`
function SuseRuntime:patches() end

--- The writes that the runtime waits for.
--- @return {kind: "print"|"write", text: string?, address: integer?, bytes: string?}[]
function SuseRuntime:queue() end

--- Makes the writes of a tool that died, or discards them if its call had failed.
--- @return {found: string, action: "none"|"finished"|"discarded", writes: integer, state: string, what: string}
function SuseRuntime:recover() end

--- Takes patches whose library went away off its list.
--- @param ids string[]
--- @return table[]
function SuseRuntime:forget(ids) end

--- @param enabled boolean
--- @return boolean changed
function SuseRuntime:set_patchable(enabled) end

--- Stops the world, sends bytes to the runtime, calls the routine behind one of its entry points on a thread that is safe
--- to borrow, and makes the writes that it queues, all in one stop. What failed half-way is discarded.
--- @param entry string for example `__ulp_trigger`
--- @param bytes string? for the metadata buffer
--- @param options? {timeout: number|string|nil, seccomp: string?, max_pause: number|string|nil, entries: integer[]?,
---   check: "stack"|"immediate"|nil} `entries`: the functions that it is about; a write to other code is refused. `check`:
---   whether no thread may be in the code that they lead to now
--- Without a `value` threads were in the way, and nothing was called.
--- @return {value: integer?, blockers: table[]?, prints: string[], writes: integer, pause_us: number} outcome
function SuseRuntime:enter(entry, bytes, options) end
