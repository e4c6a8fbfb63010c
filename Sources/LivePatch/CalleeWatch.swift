import CLinux
import CPulpABI
import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// Judges what a callee does that must not do it: a constructor or destructor of a container that crashes, aborts, throws,
/// sends signals to its program, ends it, or does not return.
///
/// Below the loader such a function is forced to return, so that the loader finishes its work and gives its locks back; the
/// container is then unloaded. Where the callee may hold a lock itself, it is left alone until it does not:
///
/// - A fault or a system call stands where it stands: everything inside of the loader's frame is given up. abort(3) has given
///   its lock back when it raises SIGABRT (glibc 2.34 to 2.41). A fault inside of another function of libc may leave a lock with
///   the thread; that is told.
/// - pthread_kill(3) and its like hold the lock of the thread that they are to send a signal to: the signal becomes
///   number 0, which sends nothing, and they return by themselves. What setuid(2) and its like send to all threads is libc's
///   own, and nobody's harm.
/// - At the time limit the innermost frames must be the container's own, or of a function of libc that holds nothing while it
///   waits; otherwise the callee goes on for a moment and is looked at again.
/// - exit(3) has called the program's own handlers when it comes to _exit(2): there is no way back, so the program ends.
/// - longjmp(3) into the program's own frames is seen at the next system call, or at the time limit. What the loader kept in
///   registers is lost by then, so there is no way back either: the thread gets its signal mask and goes on where it was sent.
final class CalleeWatch {
  let process: TargetProcess
  let tid: pid_t
  /// The time limit is the operator's `max_carrier`.
  let limitsCarrier: Bool
  /// Where the call runs, and the carrier's own stack, on which it must not run; nil when its bounds are not known.
  private let site: CallSite
  private let home: Range<UInt64>?
  /// Objects that were loaded before the call and are not to go with it, by their load bias: not the container's.
  private let before: Set<UInt64>
  /// The program's threads when the call began.
  private let threads: Set<pid_t>
  /// The first thing that went wrong.
  private(set) var fault: CodedError?
  /// What the callee has begun that cannot be averted: how the program or its thread will end.
  private(set) var ending: String?

  init(
    _ process: TargetProcess, _ tid: pid_t, limitsCarrier: Bool, site: CallSite, home: Range<UInt64>?, leaving: Range<UInt64>?,
    isGuarded: Bool = true
  ) throws(CodedError) {
    self.process = process
    self.tid = tid
    self.limitsCarrier = limitsCarrier
    self.site = site
    self.home = home
    let staying = ((try? process.libraries()) ?? []).filter { leaving?.contains($0.image.extent.lowerBound) != true }
    before = Set(staying.map(\.bias))
    threads = isGuarded ? Set(try ThreadList.all(of: process.pid)) : []
  }

  /// Of a call without our runtime, which runs on the carrier's own stack.
  convenience init(bareCallIn process: TargetProcess, _ tid: pid_t) throws(CodedError) {
    let nowhere = CallSite(entry: 0, abandon: 0, text: 0..<0, stack: 0..<0, mailbox: 0)
    try self.init(process, tid, limitsCarrier: false, site: nowhere, home: nil, leaving: nil)
  }

  func judge(_ event: CallEvent) -> CallVerdict {
    let isOutside = isOutside(event.registers)
    if case .systemCall = event.kind, !isOutside, !isHarmful(event.registers) { return .goOn }
    process.refreshLoaded(rehearsing: nil)
    if isOutside {
      if isAstray(event.registers) { return .escaped(escape(event.registers)) }
      if event.registers.systemCall == 60 { ending = inevitableEnd(event.registers, nil) }
      return .goOn
    }
    let way = wayOut(event.registers)
    switch event.kind {
    case .fault(let signal, let code, let address):
      var error = faultError(signal, code, address, event.registers, way?.frames)
      if let name = way.flatMap({ possibleLockHolder($0.frames.dropLast()) }) {
        error.message += ", inside of libc's \(printable(name))"
        error.specificHint = "if \(printable(name)) held a lock, threads that want it wait for ever: restart the program when you can"
        error = error.with("inside", .text(name))
      }
      note(error)
      return way.map { .divert($0.registers) } ?? .abandon
    case .systemCall:
      if let end = inevitableEnd(event.registers, way?.frames) {
        ending = end
        return .goOn
      }
      // A program's own function on a thread that it was lent: what it asks for is what was asked for.
      guard let way else { return .goOn }
      note(systemCallError(event.registers, way.frames))
      return holdsThreadLock(event.registers) ? .goOnWith(withoutSignal(event.registers)) : .divert(way.registers)
    case .late:
      guard let way, mayInterrupt(way.frames.dropLast()) else { return .goOn }
      note(lateError(way.frames))
      return .divert(way.registers)
    }
  }

  private func note(_ error: CodedError) { if fault == nil { fault = error } }

  // MARK: - Out of the call

  /// On the stack that the carrier was borrowed from: it has jumped there, or has just been given back.
  private func isOutside(_ registers: Registers) -> Bool {
    home?.contains(registers.stackPointer) == true && !site.isInside(registers)
  }

  /// Whether the call was left without a result, and nothing on this stack leads back into it: a constructor may run a context
  /// of its own wherever it likes. Where there is nothing but libc (and below it the
  /// program's first instruction), the thread is about to end: pthread_exit(3) jumps, too.
  private func isAstray(_ registers: Registers) -> Bool {
    guard let state = try? process.memory.load(site.mailbox, as: UInt32.self), state == UInt32(PULP_CALL_RUNNING.rawValue) else { return false }
    let homes = process.unwinder().unwind(tid, registers).frames.map { try? process.library(containing: $0.lookupAddress) }
    return homes.allSatisfy { $0.map { before.contains($0.bias) } ?? true } && homes.dropLast().contains { $0.map { !isLibc($0) } ?? true }
  }

  private func isLibc(_ library: LoadedLibrary) -> Bool { library.name.hasPrefix("libc.so") || library.name.hasPrefix("libc-2.") }

  private func escape(_ registers: Registers) -> CodedError {
    error(.callEscaped, "longjmp", "jumped into the program's own frames and did not come back; it goes on", registers.programCounter, nil)
  }

  // MARK: - The way out

  /// The frames from the innermost to the loader's, and the registers with which that goes on. A call through a bad pointer
  /// left no frame: it begins with what it would have returned to.
  private func wayOut(_ registers: Registers) -> (frames: [StackFrame], registers: Registers)? {
    guard let loader = try? process.libraries().first(where: { $0.name.hasPrefix("ld-linux") })?.image.textRanges else { return nil }
    func isLoader(_ address: UInt64) -> Bool { loader.contains { $0.contains(address) } }
    if isLoader(registers.programCounter) { return nil }
    var start = registers
    if process.map.mapping(containing: start.programCounter)?.isExecutable != true,
      let caller = try? process.memory.load(start.stackPointer, as: UInt64.self), process.map.mapping(containing: caller)?.isExecutable == true
    {
      start.programCounter = caller
      start.stackPointer &+= 8
      if isLoader(caller) { return ([StackFrame(programCounter: caller, isActivation: false, stackPointer: start.stackPointer)], start) }
    }
    return process.unwinder().unwind(tid, start) { isLoader($0.programCounter) }
  }

  /// Functions of libc that hold no lock while they wait, so that their caller can be taken out of them.
  private static let lockless: Set<String> = [
    "sleep", "usleep", "nanosleep", "clock_nanosleep", "pause", "sigsuspend", "sigwait", "sigwaitinfo", "sigtimedwait", "poll", "ppoll",
    "select", "pselect", "epoll_wait", "epoll_pwait", "read", "write", "readv", "writev", "recv", "recvfrom", "recvmsg", "send", "sendto",
    "sendmsg", "accept", "accept4", "connect", "open", "open64", "openat", "waitpid", "wait", "wait4", "waitid", "flock", "msgrcv", "semop",
    "pthread_mutex_lock", "pthread_mutex_timedlock", "pthread_mutex_clocklock", "pthread_spin_lock", "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock", "sem_wait", "sched_yield", "clock_gettime", "gettimeofday", "time", "getpid", "gettid", "syscall", "memcpy",
    "memset", "memmove", "memcmp", "strlen", "strcmp", "strncmp", "strchr", "strcpy", "strncpy", "rand_r", "getenv", "ioctl", "fcntl",
  ]

  /// Whether everything inside of the loader's frame may be given up here: frames of what this call brought, and below them at
  /// most one call into libc that holds nothing. The frame that the container called tells which one it is.
  private func mayInterrupt(_ frames: ArraySlice<StackFrame>) -> Bool {
    var isInLibc = false
    for frame in frames.reversed() {
      guard let library = try? process.library(containing: frame.lookupAddress) else {
        // The vDSO, below a function of libc.
        guard isInLibc, process.map.mapping(containing: frame.programCounter)?.path == "[vdso]" else { return false }
        continue
      }
      if !before.contains(library.bias) {
        if isInLibc { return false }
      } else {
        guard isLibc(library) else { return false }
        if isInLibc { continue }
        guard let name = try? library.image.function(containing: RemoteAddress(frame.lookupAddress))?.name else { return false }
        guard CalleeWatch.lockless.contains(name.hasPrefix("__") ? String(name.dropFirst(2)) : name) else { return false }
        isInLibc = true
      }
    }
    return !frames.isEmpty
  }

  // MARK: - Locks that a callee may hold

  /// Functions of libc that end a program, and hold nothing when they come to it.
  private static let enders: Set<String> = ["abort", "assert_fail", "stack_chk_fail", "chk_fail", "fortify_fail", "raise", "pthread_kill", "kill"]

  /// The function of libc that the container was in, unless that is known to hold nothing. Without a name it is one of those
  /// that are chosen by the processor (IFUNC), which copy and compare.
  private func possibleLockHolder(_ frames: ArraySlice<StackFrame>) -> String? {
    let homes = frames.map { frame in (frame, try? process.library(containing: frame.lookupAddress)) }
    guard let (frame, library) = homes.last(where: { $0.1.map(isLibc) ?? false }), let library,
      let found = try? library.image.function(containing: RemoteAddress(frame.lookupAddress))?.name
    else { return nil }
    let name = found.hasPrefix("__") ? String(found.dropFirst(2)) : found
    return CalleeWatch.lockless.contains(name) || CalleeWatch.enders.contains(name) ? nil : found
  }

  /// Whether libc is about to send a signal to another thread, whose lock it holds meanwhile (glibc 2.35 and later). Who asks
  /// the kernel itself holds nothing.
  private func holdsThreadLock(_ registers: Registers) -> Bool {
    guard let other = addressee(registers), other != pid_t(truncatingIfNeeded: ownNumber("NSpid", of: tid)),
      let library = try? process.library(containing: registers.programCounter), isLibc(library)
    else { return false }
    let name = try? library.image.function(containing: RemoteAddress(registers.programCounter))?.name
    return name != "syscall" && name != "tgkill"
  }

  private func withoutSignal(_ registers: Registers) -> Registers {
    var next = registers
    if registers.systemCall == 200 { next.raw.rsi = 0 } else { next.raw.rdx = 0 }
    return next
  }

  // MARK: - System calls

  private static let signalSenders: Set<Int> = [62, 129, 200, 234, 297, 424]

  /// A signal to somebody else is nobody's harm. The numbers are those of the process's own PID namespace.
  private func isHarmful(_ registers: Registers) -> Bool {
    guard let number = registers.systemCall, CalleeWatch.signalSenders.contains(number) else { return true }
    if signal(registers) == 0 || number == 424 { return false }
    if let thread = addressee(registers) {
      if signal(registers) == CalleeWatch.setxid && isHandled(CalleeWatch.setxid) { return false }
      // One of its own, as far as numbers are the same here and there.
      if ownNumber() == Int64(process.pid), !threads.contains(thread) { return false }
    }
    if number == 200 { return true }
    let target = Int64(Int32(truncatingIfNeeded: registers.systemCallArguments[0]))
    return target <= 0 || target == ownNumber()
  }

  /// What glibc has all threads change their user with (SIGSETXID).
  private static let setxid: Int32 = 33

  private func isHandled(_ number: Int32) -> Bool {
    guard let status = ProcFile.read("/proc/\(process.memory.thread)/status", limit: 16384),
      let caught = ProcFile.field("SigCgt", of: status).flatMap(ProcFile.hexadecimal)
    else { return false }
    return caught >> UInt64(number - 1) & 1 != 0
  }

  /// The single thread that a signal is for.
  private func addressee(_ registers: Registers) -> pid_t? {
    switch registers.systemCall {
    case 200: pid_t(truncatingIfNeeded: registers.systemCallArguments[0])
    case 234, 297: pid_t(truncatingIfNeeded: registers.systemCallArguments[1])
    default: nil
    }
  }

  private func signal(_ registers: Registers) -> Int32 {
    let isForThread = registers.systemCall == 234 || registers.systemCall == 297
    return Int32(truncatingIfNeeded: registers.systemCallArguments[isForThread ? 2 : 1])
  }

  /// The last number of NStgid in /proc/PID/status, what getpid(2) says there, or with NSpid what gettid(2) says.
  private func ownNumber(_ name: StaticString = "NStgid", of thread: pid_t? = nil) -> Int64 {
    guard let status = ProcFile.read("/proc/\(thread ?? process.memory.thread)/status", limit: 16384), let field = ProcFile.field(name, of: status),
      let last = field.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).last, let number = ProcFile.decimal(last)
    else { return Int64(process.pid) }
    return Int64(number)
  }

  private func inevitableEnd(_ registers: Registers, _ frames: [StackFrame]?) -> String? {
    switch registers.systemCall {
    case 60: return "ended its thread"
    case 231:
      guard let frames else { return "ended the program" }
      let isExit = frames.contains { ["exit", "quick_exit"].contains(process.describe($0.lookupAddress)?.symbol ?? "") }
      return isExit ? "called exit(\(Int32(truncatingIfNeeded: registers.systemCallArguments[0])))" : nil
    default: return nil
    }
  }

  // MARK: - What is said

  private func faultError(
    _ signal: Int32, _ code: Int32, _ address: UInt64, _ registers: Registers, _ frames: [StackFrame]?
  ) -> CodedError {
    let stack = process.map.mapping(containing: address)
    let isOverflow = signal == SIGSEGV && stack?.permissions == "---p" && address &+ 65536 > registers.stackPointer
      && registers.stackPointer &+ 65536 > address
    let what = isOverflow ? "overflowed its stack (\(signalName(signal)))" : "raised \(signalName(signal))"
    return error(.callFault, isOverflow ? "stack_overflow" : "signal", what, registers.programCounter, frames)
      .with("signal", .integer(Int64(signal))).with("address", .integer(Int64(bitPattern: address)))
  }

  private func systemCallError(_ registers: Registers, _ frames: [StackFrame]) -> CodedError {
    let number = registers.systemCall ?? -1
    let names = [60: "exit", 231: "exit_group", 59: "execve", 322: "execveat"]
    if let name = names[number] {
      return error(.callFault, name, "was about to make the system call \(name)", registers.programCounter, frames)
        .with("system_call", .integer(Int64(number)))
    }
    let signal = signal(registers)
    return error(.callFault, "signal", "was about to send \(signalName(signal)) to its own program", registers.programCounter, frames)
      .with("signal", .integer(Int64(signal))).with("system_call", .integer(Int64(number)))
  }

  private func lateError(_ frames: [StackFrame]) -> CodedError {
    error(
      limitsCarrier ? .stageCarrier : .callTimeout, "timeout", "did not return in time and was forced to",
      frames.first?.programCounter ?? 0, frames
    ).with("forced", .flag(true))
  }

  /// `constructor` is the function that the loader called.
  private func error(_ code: ErrorCode, _ cause: String, _ what: String, _ pc: UInt64, _ frames: [StackFrame]?) -> CodedError {
    let place = process.describe(pc)
    let location = place.map { place in
      place.symbol.map { "\(printable($0))+\(hex(place.offset)) in \(printable(place.library))" }
        ?? "\(printable(place.library))+\(hex(place.offset))"
    } ?? hex(pc)
    var error = CodedError(
      code, "the call in process \(process.pid) \(what) at \(location)",
      data: [
        "pid": .integer(Int64(process.pid)), "tid": .integer(Int64(tid)), "cause": .text(cause), "rip": .integer(Int64(bitPattern: pc)),
        "place": .text(location),
      ])
    guard let frames, frames.count > 1, let called = process.describe(frames[frames.count - 2].lookupAddress) else { return error }
    let name = called.symbol ?? hex(called.offset)
    if name != place?.symbol { error.message += ", called from \(printable(name))" }
    return error.with("constructor", .text(name)).with("library", .text(called.library))
  }
}

/// `SIGSEGV` and the like; the number for what has no name here.
func signalName(_ number: Int32) -> String {
  let names = [
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1",
    11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 31: "SIGSYS",
  ]
  return names[Int(number)] ?? "signal \(number)"
}
