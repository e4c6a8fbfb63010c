/// Every code of ulpsh. Grouped by the thing that is at fault, not by the module that notices it.
extension ErrorCode {
  // MARK: process: the target as the kernel shows it
  public static let processNotFound = ErrorCode(
    "process.not_found", "there is no process with this PID", hint: "list candidates with `ulpsh patches`")
  public static let processGone = ErrorCode(
    "process.gone", "the process ended while it was being worked on", hint: "nothing to undo; look at why it ended")
  public static let processPermission = ErrorCode(
    "process.permission", "the kernel does not let this user trace or read the process",
    hint: "run ulpsh as root or as the owner of the process, and look at kernel.yama.ptrace_scope")
  public static let processTraced = ErrorCode(
    "process.traced", "another tracer holds the process", hint: "detach the tracer (gdb: `detach`) and try again")
  public static let processStopped = ErrorCode(
    "process.stopped", "the process is stopped by a signal", hint: "resume it with `kill -CONT PID` and try again")
  public static let processFrozen = ErrorCode(
    "process.frozen", "the process's control group is frozen, so that nothing in it can run", hint: "thaw the group and try again")
  public static let processZombie = ErrorCode(
    "process.zombie", "the process has ended and waits for its parent", hint: "nothing is left to patch")
  public static let processWordSize = ErrorCode(
    "process.word_size", "the process is not a 64-bit x86-64 program", hint: "only 64-bit x86-64 processes can be patched")
  public static let processStatic = ErrorCode(
    "process.static", "the program is statically linked: it has no dynamic loader and no libraries",
    hint: "rebuild it dynamically linked, or restart it with a fixed binary")
  public static let processForeignLoader = ErrorCode(
    "process.foreign_loader", "the program does not run under glibc's dynamic loader",
    hint: "only glibc programs can be patched")
  public static let processSelf = ErrorCode(
    "process.self", "the process is ulpsh itself", hint: "name another process")
  public static let processUnstoppable = ErrorCode(
    "process.unstoppable", "a thread could not be stopped within the time limit",
    hint: "it may be in uninterruptible sleep or a vfork; try again later")
  public static let processShadowStack = ErrorCode(
    "process.shadow_stack", "a thread runs with a user shadow stack, which a forged return address would violate",
    hint: "start the program with shadow stacks off")
  public static let processExec = ErrorCode(
    "process.exec", "the process replaced its program while it was being worked on", hint: "attach again")
  public static let processStarting = ErrorCode(
    "process.starting", "the process is still being started: its dynamic loader is at work", hint: "try again in a moment")
  public static let processCorrupt = ErrorCode(
    "process.corrupt", "the process's memory contradicts itself: a list, header or string of the loader is malformed",
    hint: "the process is damaged or hostile; do not patch it")
  public static let seccompStrict = ErrorCode(
    "seccomp.strict", "a thread runs in seccomp strict mode", hint: "this process cannot be patched")
  public static let seccompForbidden = ErrorCode(
    "seccomp.forbidden", "a seccomp filter of the process forbids a system call that loading a container needs",
    hint: "allow the named system call in the filter, or, with CAP_SYS_ADMIN, suspend the filter with `seccomp = \"suspend\"`")
  public static let seccompUnknown = ErrorCode(
    "seccomp.unknown", "a seccomp filter of the process cannot be read, so it is unknown what it forbids",
    hint: "run ulpsh with CAP_SYS_ADMIN, or pass `seccomp = \"ignore\"` if you know the filter")

  public static let seccompPermission = ErrorCode(
    "seccomp.permission", "the seccomp filters of a thread may not be suspended",
    hint: "run ulpsh with CAP_SYS_ADMIN and without seccomp filters of its own")

  // MARK: memory and calls
  public static let memoryUnreadable = ErrorCode(
    "memory.unreadable", "an address of the process cannot be read", hint: "look at the mappings with `p.maps`")
  public static let memoryUnwritable = ErrorCode(
    "memory.unwritable", "an address of the process cannot be written", hint: "look at the mappings with `p.maps`")
  public static let carrierNone = ErrorCode(
    "carrier.none", "no thread was in a state in which it could safely be borrowed, until the time limit",
    hint: "try again, or give a longer `timeout`")
  public static let callTimeout = ErrorCode(
    "call.timeout", "the called function did not return within the time limit: either it was forced to (`forced`), or it goes on and its "
      + "thread heals itself",
    hint: "give a longer `timeout`; `ulpsh recover PID` cleans up once it has returned")
  public static let callFault = ErrorCode(
    "call.fault", "the called function raised a fatal signal; the thread was taken back out of it",
    hint: "look at the function or at the container's constructors")
  public static let callLost = ErrorCode(
    "call.lost", "the borrowed thread ended in the middle of the called function, and took the loader's lock with it",
    hint: "the program goes on, but its next dlopen may wait for ever: restart it when you can")
  public static let callEscaped = ErrorCode(
    "call.escaped", "the called function jumped into the program's own code (longjmp) and did not come back; the loader's lock stayed "
      + "with the thread",
    hint: "the program goes on where it was sent, but its next dlopen may wait for ever: restart it when you can")
  public static let callBusy = ErrorCode(
    "call.busy", "a call of an earlier ulpsh still runs in the process", hint: "wait for it to return and try again")
  public static let callUnknownFunction = ErrorCode(
    "call.unknown_function", "no loaded library exports a function of this name", hint: "look at `p:symbol(NAME)`")
  public static let receiptDiffers = ErrorCode(
    "receipt.differs", "the receipt shows that the process is not in every respect as it was before",
    hint: "what a container's constructor changed is its author's affair; anything else is a bug in ulpsh: please report it")
  public static let handleClosed = ErrorCode(
    "handle.closed", "the handle was closed or has expired", hint: "attach again")

  // MARK: the runtime in the target
  public static let runtimeMissing = ErrorCode(
    "runtime.missing", "libpulp.so is not loaded in the process",
    hint: "start the program with LD_PRELOAD=$(ulpsh -e 'print(ulp.core.runtime_path)'), or by `ulp.spawn{preload = true}`")
  public static let runtimeVersion = ErrorCode(
    "runtime.version", "the libpulp.so in the process speaks another protocol version than this ulpsh",
    hint: "use the ulpsh that was installed with that runtime")
  public static let runtimeForeign = ErrorCode(
    "runtime.foreign", "the libpulp.so in the process is not ours", hint: "use that project's own tool")
  public static let runtimeDisabled = ErrorCode(
    "runtime.disabled", "live patching is switched off in the process", hint: "look at `ulpsh messages -p PID`")
  public static let runtimeCorrupt = ErrorCode(
    "runtime.corrupt", "the runtime's own data in the process contradicts itself",
    hint: "do not patch this process; restart it when you can")
  public static let operationBusy = ErrorCode(
    "operation.busy", "another ulpsh is changing this process", hint: "wait for it to finish")
  public static let operationPending = ErrorCode(
    "operation.pending", "an unfinished operation of an earlier ulpsh was found", hint: "run `ulpsh recover PID`")
  public static let operationExpired = ErrorCode(
    "operation.expired", "the staged operation was already settled, aborted or closed", hint: "stage it again")

  // MARK: ELF files and containers
  public static let fileUnreadable = ErrorCode("file.unreadable", "the file cannot be read", hint: "check path and permissions")
  public static let fileUnwritable = ErrorCode("file.unwritable", "the file cannot be written", hint: "check path and permissions")
  public static let fileChanged = ErrorCode(
    "file.changed", "the file was changed or replaced while it was being worked on", hint: "find out who writes it, and try again")
  public static let jsonMalformed = ErrorCode(
    "json.malformed", "the file is not JSON, or not what is expected of it", hint: "write it anew with `ulpsh extract` or `ulpsh dump --json`")
  public static let elfNotELF = ErrorCode("elf.not_elf", "the file is not an ELF file", hint: "name a shared library")
  public static let elfUnsupported = ErrorCode(
    "elf.unsupported", "the ELF file is not 64-bit little-endian x86-64", hint: "build it for x86-64")
  public static let elfMalformed = ErrorCode("elf.malformed", "the ELF file contradicts itself", hint: "build it again")
  public static let elfNoBuildID = ErrorCode(
    "elf.no_build_id", "the ELF file has no GNU build ID", hint: "link it with -Wl,--build-id=sha1")
  public static let containerNoMetadata = ErrorCode(
    "container.no_metadata", "the shared object carries no live patch metadata", hint: "pack it first: `ulpsh pack FILE.dsc`")
  public static let containerMalformed = ErrorCode(
    "container.malformed", "the live patch metadata is truncated or malformed", hint: "pack the container again")
  public static let containerContradiction = ErrorCode(
    "container.contradiction", "the metadata names something that the container does not have",
    hint: "pack the container again from the file that is to be loaded")
  public static let containerDuplicate = ErrorCode(
    "container.duplicate", "a function is replaced twice by one set of containers", hint: "leave one of them out")
  public static let containerInvisible = ErrorCode(
    "container.invisible", "the target process cannot open the container's file",
    hint: "put it where the process can read it, pass the prefix under which it is there as `root`, or deliver it with `deliver = \"memfd\"`")
  public static let containerUndeliverable = ErrorCode(
    "container.undeliverable", "the process cannot be given the container as a memory file",
    hint: "put the file where the process can open it, and leave out `deliver = \"memfd\"`")
  public static let containerChanged = ErrorCode(
    "container.changed", "what the process loaded is not the file that was checked",
    hint: "somebody changed the file meanwhile; find out who, and try again")
  public static let containerStale = ErrorCode(
    "container.stale", "the process still has an earlier load of this container, which is not as new",
    hint: "apply it with `deliver = \"memfd\"`, or a copy of the file under another name (`cp`): it is loaded anew")
  public static let containerConstructors = ErrorCode(
    "container.constructors", "the container has constructors, which run in the process as soon as it is loaded",
    hint: "look at what they do, and then allow them with `constructors = \"allow\"`")
  public static let containerExecutableStack = ErrorCode(
    "container.executable_stack", "the container asks the loader to make the stacks of the process executable",
    hint: "link it with -Wl,-z,noexecstack; an object of an assembler file without .note.GNU-stack asks for it")
  public static let containerOwnership = ErrorCode(
    "container.ownership", "somebody other than root and the user of ulpsh can change or replace the container's file",
    hint: "take the write permission away, or copy the file to a directory that only root can write")
  public static let containerUnresolved = ErrorCode(
    "container.unresolved", "the container needs symbols that the process does not have", hint: "rebuild it against the loaded libraries")
  public static let descriptionSyntax = ErrorCode(
    "description.syntax", "the description file has a mistake", hint: "see ulp-description(5)")

  // MARK: the place to be patched
  public static let targetNotLoaded = ErrorCode(
    "target.not_loaded", "the target library is not loaded in the process", hint: "look at `p.libs`")
  public static let targetBuildID = ErrorCode(
    "target.build_id", "the loaded target library has another build ID than the patch was made for",
    hint: "use the patch that was made for this build")
  public static let targetFunctionMissing = ErrorCode(
    "target.function_missing", "the function to be replaced is not in the target library", hint: "check the name with `p:symbol(NAME)`")
  public static let targetFunctionAmbiguous = ErrorCode(
    "target.function_ambiguous", "several functions of the target library have this name",
    hint: "patch a function that calls it, or give the function a name of its own")
  public static let entryNotPrepared = ErrorCode(
    "entry.not_prepared", "the function has no patchable entry",
    hint: "build the library with -fpatchable-function-entry=16,14")
  public static let entryModified = ErrorCode(
    "entry.modified", "the function's entry holds bytes that neither the compiler nor this runtime put there",
    hint: "a probe or another patcher is active; remove it first")
  public static let entryCrossesPage = ErrorCode(
    "entry.crosses_page", "the two entry bytes lie on different pages and cannot be switched in one step",
    hint: "build the library with -falign-functions=16")
  public static let entryIndirect = ErrorCode(
    "entry.indirect", "the symbol is an IFUNC: its code only chooses the implementation",
    hint: "patch the implementation it resolves to")
  public static let poolFull = ErrorCode(
    "pool.full", "the runtime's pool of selection stubs is exhausted", hint: "settle pending operations; split the patch")

  // MARK: patches and transitions
  public static let patchNotApplied = ErrorCode(
    "patch.not_applied", "the patch is not applied in the process", hint: "look at `ulpsh patches`")
  public static let patchDependency = ErrorCode(
    "patch.dependency", "a patch that this one depends on is not applied", hint: "apply that one first, or both together")
  public static let patchLost = ErrorCode(
    "patch.lost", "the runtime's journal says that the patch is applied, but a function does not lead to it",
    hint: "the library was loaded again or somebody changed its code; apply the patch again")
  public static let patchBlocked = ErrorCode(
    "patch.blocked", "threads were inside functions to be replaced until the time limit",
    hint: "give a longer `timeout`, or `consistency = \"immediate\"` if mixing versions is harmless")
  public static let stageFailed = ErrorCode(
    "stage.failed", "the process could not load the container", hint: "the loader's message says why")
  public static let stageSymbols = ErrorCode(
    "stage.symbols", "replacement functions or variables were not found in the loaded container",
    hint: "they must be exported with default visibility")
  public static let stageCarrier = ErrorCode(
    "stage.max_carrier", "loading would have kept a thread longer than `max_carrier`; the container was unloaded again",
    hint: "give a longer `max_carrier`, or look at what the container's constructors do")
  public static let switchPause = ErrorCode(
    "switch.max_pause", "the world-stop would have been longer than `max_pause`; the process was let go unpatched",
    hint: "give a longer `max_pause`, or try at a quieter time")

  // MARK: compiling
  public static let ccFailed = ErrorCode(
    "cc.failed", "the compiler or linker refused the source", hint: "its whole text is in `output`")
  public static let ccMissing = ErrorCode(
    "cc.missing", "a compiler or one of its tools could not be started", hint: "install gcc (g++ for C++) and binutils, or say which with `cc`")

  // MARK: scripts and the command line
  public static let usage = ErrorCode("usage", "the command line or an argument is wrong", hint: "see `ulpsh help`")
  public static let scriptError = ErrorCode("script.error", "a Lua script failed", hint: "see the traceback")
  public static let scriptInterrupted = ErrorCode(
    "script.interrupted", "the statement was interrupted from the keyboard", hint: "nothing stays stopped")
  public static let spawnFailed = ErrorCode("spawn.failed", "the program could not be started", hint: "check path and permissions")
  public static let expectTimeout = ErrorCode(
    "expect.timeout", "the expected output did not appear in time", hint: "see the transcript")
  public static let expectRejected = ErrorCode(
    "expect.rejected", "output appeared that must not appear", hint: "see the transcript")
  public static let internalError = ErrorCode(
    "internal", "ulpsh contradicts itself", hint: "this is a bug in ulpsh; please report it")

  /// Every code, in the order of the manual.
  public static let all: [ErrorCode] = [
    processNotFound, processGone, processPermission, processTraced, processStopped, processFrozen, processZombie, processWordSize,
    processStatic, processForeignLoader, processSelf, processUnstoppable, processShadowStack, processExec, processStarting,
    processCorrupt,
    seccompStrict, seccompForbidden, seccompUnknown, seccompPermission,
    memoryUnreadable, memoryUnwritable, carrierNone, callTimeout, callFault, callLost, callEscaped, callBusy, callUnknownFunction, receiptDiffers,
    handleClosed,
    runtimeMissing, runtimeVersion, runtimeForeign, runtimeDisabled, runtimeCorrupt,
    operationBusy, operationPending, operationExpired,
    fileUnreadable, fileUnwritable, fileChanged, jsonMalformed, elfNotELF, elfUnsupported, elfMalformed, elfNoBuildID,
    containerNoMetadata, containerMalformed, containerContradiction, containerDuplicate, containerInvisible, containerUndeliverable,
    containerChanged, containerStale, containerConstructors, containerExecutableStack, containerOwnership, containerUnresolved,
    descriptionSyntax,
    targetNotLoaded, targetBuildID, targetFunctionMissing, targetFunctionAmbiguous, entryNotPrepared, entryModified, entryCrossesPage,
    entryIndirect, poolFull,
    patchNotApplied, patchDependency, patchLost, patchBlocked, stageFailed, stageSymbols, stageCarrier, switchPause,
    ccFailed, ccMissing,
    usage, scriptError, scriptInterrupted, spawnFailed, expectTimeout, expectRejected, internalError,
  ]
}
