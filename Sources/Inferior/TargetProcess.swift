import CLinux
import Diagnostics
import ELF
import Glibc
import Tracing

/// A process to look into and to patch: a handle that stops nothing.
///
/// Holding one costs a pidfd and an open /proc/PID/mem; no thread is seized. The pidfd makes sure that a reused PID is never
/// mistaken for the process (pidfd_open(2)).
public final class TargetProcess {
  public let pid: pid_t
  public let memory: ProcessMemory
  public let identity: ProcessIdentity
  /// The target of /proc/PID/exe, with ` (deleted)` when the file has been replaced.
  public let executable: String
  private let pidDescriptor: Int32
  private let mappedFiles = MappedFiles.Use()
  private var cachedMap: MemoryMap?
  /// When the libraries were read, nanoseconds of CLOCK_MONOTONIC.
  private var readAt: UInt64 = 0
  private var cachedLibraries: [LoadedLibrary]?
  /// False when others may have been loaded since.
  private var areAllLibraries = true
  /// The loader's `r_debug`, once libraries have been read.
  private var loaderDebug: UInt64 = 0
  private var cachedUnwinder: StackUnwinder?
  /// The code that the unwinder knows.
  private var unwoundCode: [CodeMapping] = []
  private var cachedHazards: CarrierHazards?
  private var cachedFileSymbols: [UInt64: SymbolTable?] = [:]

  /// Opens a process. Fails with `process.not_found`, `.self`, `.zombie`, `.permission`, `.word_size`, `.static`,
  /// `.foreign_loader`.
  public init(attachingTo pid: pid_t) throws(CodedError) {
    _ = try ProcessFacts(of: pid)
    guard pid != getpid() else { throw CodedError(.processSelf, "process \(pid) is this ulpsh itself") }
    let start = try ProcessFacts.startTime(of: pid)
    let descriptor = Int32(truncatingIfNeeded: ul_pidfd_open(pid))
    guard descriptor >= 0 else { throw descriptor == -ESRCH ? .noSuchProcess(pid) : .permission(pid, "watch", errno: -descriptor) }
    var complete = false
    defer { if !complete { close(descriptor) } }
    (executable, memory) = try TargetProcess.open(pid, descriptor)
    guard try ProcessFacts.startTime(of: pid) == start else { throw .gone(pid) }
    self.pid = pid
    identity = ProcessIdentity(pid: UInt64(pid), startTime: start)
    pidDescriptor = descriptor
    complete = true
  }

  /// The program and its memory. In the middle of an execve(2) a process looks as if it had ended for a moment.
  private static func open(_ pid: pid_t, _ descriptor: Int32) throws(CodedError) -> (String, ProcessMemory) {
    var attempts = 0
    while true {
      do throws(CodedError) {
        let thread = try liveThread(try ProcessFacts(of: pid))
        let executable = try executablePath(pid, thread)
        try checkProgram(pid, thread, executable)
        return (executable, try ProcessMemory(of: pid, through: thread))
      } catch {
        attempts += 1
        let isPassing = [.processZombie, .processGone, .processNotFound].contains(error.code)
        guard isPassing, attempts < 20, ul_pidfd_ended(descriptor) == 0 else { throw error }
        usleep(1000)
      }
    }
  }

  deinit { close(pidDescriptor) }

  public var hasEnded: Bool { ul_pidfd_ended(pidDescriptor) != 0 }

  /// Fresh facts; fails with `process.gone` once the process has ended.
  public func facts() throws(CodedError) -> ProcessFacts {
    if hasEnded { throw .gone(pid) }
    do { return try ProcessFacts(of: pid) } catch { throw error.code == .processNotFound ? .gone(pid) : error }
  }

  // MARK: - What is mapped

  /// Forgets what was read of mappings and libraries, unless that was a moment ago: the steps of one operation follow one
  /// another within a millisecond, and each looks at them. False when it kept them.
  @discardableResult public func refreshIfOld() -> Bool {
    guard Deadline.now &- readAt > 2_000_000 else { return false }
    refresh()
    return true
  }

  /// Forgets what was read of mappings and libraries: both change while the process runs.
  public func refresh() {
    memory.followThreads()
    forget()
  }

  /// Lets go of everything that was read.
  public func forget() {
    cachedMap = nil
    cachedLibraries = nil
    cachedUnwinder = nil
    cachedHazards = nil
    cachedFileSymbols.removeAll()
  }

  /// Takes notice of what was loaded: the unwinder goes on, and is warmed up with registers of earlier, so that what it needs
  /// is in memory before anything is stopped.
  public func refreshLoaded(rehearsing carrier: (tid: pid_t, registers: Registers)?) {
    let before = cachedMap
    cachedMap = nil
    areAllLibraries = false
    // What is still mapped as it was is known already.
    if before?.code.allSatisfy(Set(map.code).contains) != true { cachedLibraries = nil }
    followMap()
    if let carrier { _ = cachedUnwinder?.unwind(carrier.tid, carrier.registers) }
  }

  /// An unwinder for other mappings than the present ones is given up.
  private func followMap() {
    guard let unwinder = cachedUnwinder else { return }
    if unwinder.follow(map) { unwoundCode = map.code } else { cachedUnwinder = nil }
  }

  /// Unwinds what sleeping threads and the given functions look like now, without stopping anything: in the stop, files and
  /// tables are then in memory. proc(5) tells the place of a thread that is blocked: `NUMBER ARGUMENTS SP PC`.
  public func rehearse(_ functions: [UInt64], limit: Int = 16) {
    let unwinder = self.unwinder()
    var sample = Registers()
    for tid in ThreadList.read(of: pid).prefix(limit) {
      guard let text = ProcFile.read("/proc/\(pid)/task/\(tid)/syscall", limit: 256) else { continue }
      let words = text.split(separator: 0x20).suffix(2).compactMap { $0.count > 2 ? ProcFile.hexadecimal($0.dropFirst(2)) : nil }
      guard words.count == 2 else { continue }
      sample.stackPointer = words[0]
      sample.programCounter = words[1]
      _ = unwinder.unwind(tid, sample)
    }
    for function in functions.prefix(limit) {
      sample.programCounter = function
      _ = unwinder.unwind(pid, sample, limit: 2)
    }
  }

  public var map: MemoryMap {
    if let cachedMap { return cachedMap }
    let map = MemoryMap(of: memory.thread)
    if map.failure == nil { cachedMap = map }
    return map
  }

  /// The same for those who take what is not in it for not mapped. Fails with `process.permission` when it cannot be read.
  public func readableMap() throws(CodedError) -> MemoryMap {
    let map = self.map
    if let failure = map.failure { throw failure }
    return map
  }

  /// `count` bytes at an address, or nil when nothing is mapped there any more: code of a library that the program has
  /// unloaded. Fails with `memory.unreadable` when something is, and cannot be read all the same.
  public func readIfMapped(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8]? {
    do throws(CodedError) { return try memory.read(address, count: count) } catch {
      guard error.code == .memoryUnreadable else { throw error }
      memory.followThreads()
      let now = MemoryMap(of: memory.thread)
      if let failure = now.failure { throw failure }
      var place = address
      while place < address &+ UInt64(count) {
        guard let mapping = now.mapping(containing: place), mapping.isReadable || mapping.isExecutable else { return nil }
        place = mapping.range.upperBound
      }
      throw error
    }
  }

  /// The objects of the link map, the program first.
  public func libraries() throws(CodedError) -> [LoadedLibrary] {
    if let cachedLibraries, areAllLibraries { return cachedLibraries }
    var attempts = 0
    while true {
      do {
        let reader = LinkMapReader(pid: pid, thread: memory.thread, memory: memory, executable: executable)
        let (libraries, debug) = try reader.read(map: readableMap())
        cachedLibraries = libraries
        areAllLibraries = true
        loaderDebug = debug
        readAt = Deadline.now
        return libraries
      } catch {
        // The program may be loading or unloading something this very moment: list and mappings then disagree.
        let isPassing = [.memoryUnreadable, .processCorrupt, .processStarting, .elfNotELF, .elfMalformed].contains(error.code)
        attempts += 1
        guard isPassing, attempts < 50, !hasEnded else { throw error }
        cachedMap = nil
        usleep(500)
      }
    }
  }

  /// Gives a loader that is adding or removing libraries a moment, and then forgets what was read. False when it goes on, as
  /// it does in a program that is only being started.
  public func awaitLoader() -> Bool {
    for _ in 0..<50 {
      // r_state of struct r_debug, 0: RT_CONSISTENT (<link.h>)
      guard let state = try? memory.load(loaderDebug &+ 24, as: Int32.self), state != 0 else {
        refresh()
        return true
      }
      usleep(500)
    }
    return false
  }

  /// The object a patch's target name means, nil when none is loaded.
  public func library(named name: String) throws(CodedError) -> LoadedLibrary? {
    try libraries().first { $0.answers(to: name) }
  }

  public func library(containing address: UInt64) throws(CodedError) -> LoadedLibrary? {
    if let known = cachedLibraries?.first(where: { $0.image.extent.contains(address) }) { return known }
    return areAllLibraries && cachedLibraries != nil ? nil : try libraries().first { $0.image.extent.contains(address) }
  }

  public func unwinder() -> StackUnwinder {
    if let cachedUnwinder { return cachedUnwinder }
    let unwinder = StackUnwinder(pid: pid, memory: memory, map: map)
    unwoundCode = map.code
    cachedUnwinder = unwinder
    return unwinder
  }

  /// The unwinder for what is mapped now: between two attempts the program may have loaded and unloaded things.
  public func currentUnwinder() -> StackUnwinder {
    if let cachedUnwinder, let code = CodeMapping.list(of: memory.thread), code == unwoundCode { return cachedUnwinder }
    cachedMap = nil
    followMap()
    return unwinder()
  }

  func hazards() throws(CodedError) -> CarrierHazards {
    if let cachedHazards { return cachedHazards }
    let hazards = try CarrierHazards(in: self)
    cachedHazards = hazards
    return hazards
  }

  // MARK: - Symbols

  /// Address of the first exported definition of a name in link map order, as dlsym(3) would find it.
  public func symbol(_ name: String) throws(CodedError) -> UInt64? {
    for library in try libraries() {
      if let address = try? library.image.address(of: name) { return address.rawValue }
    }
    return nil
  }

  /// Whether the first definition of a name is a GNU indirect function: its address is that of a function that returns the
  /// address of the implementation.
  public func isIndirect(_ name: String) throws(CodedError) -> Bool {
    for library in try libraries() {
      if let symbol = try? library.image.symbols().symbol(named: name), symbol.isDefined { return symbol.kind == .indirectFunction }
    }
    return false
  }

  /// Where errno lies from a thread's pointer, out of glibc's `__errno_location`: `mov errno@gottpoff(%rip),%rax;
  /// add %fs:0,%rax; ret`. Nil where it is compiled otherwise.
  public var errnoOffset: UInt64? {
    guard let function = try? symbol("__errno_location"), let code = try? memory.read(function, count: 24) else { return nil }
    let start = code.starts(with: [0xf3, 0x0f, 0x1e, 0xfa]) ? 4 : 0
    guard code[start...].starts(with: [0x48, 0x8b, 0x05]), code[(start + 7)...].starts(with: [0x64, 0x48, 0x03, 0x04, 0x25, 0, 0, 0, 0, 0xc3])
    else { return nil }
    let distance = (0..<4).reduce(UInt32(0)) { $0 | UInt32(code[start + 3 + $1]) << (8 * UInt32($1)) }
    let place = function &+ UInt64(start + 7) &+ UInt64(bitPattern: Int64(Int32(bitPattern: distance)))
    return try? memory.load(place, as: UInt64.self)
  }

  /// What an address belongs to: library, function and offset. Functions that are not exported have a name only as long as
  /// the library's file has its `.symtab`.
  public func describe(_ address: UInt64) -> (library: String, symbol: String?, offset: UInt64)? {
    guard let library = try? library(containing: address) else { return nil }
    if let symbol = try? library.image.function(containing: RemoteAddress(address)) {
      return (library.name, symbol.name, address &- (symbol.address + library.image.bias).rawValue)
    }
    if let symbol = fileSymbols(of: library)?.function(containing: address &- library.bias) {
      return (library.name, symbol.name, address &- library.bias &- symbol.value)
    }
    return (library.name, nil, address &- library.image.extent.lowerBound)
  }

  /// The ranges of code that the compiler split off the function at `address`; none when the library's file has no `.symtab`.
  public func splitParts(ofFunctionAt address: UInt64) -> [Range<UInt64>] {
    guard let library = try? library(containing: address), let table = fileSymbols(of: library) else { return [] }
    return table.splitParts(ofFunctionAt: address &- library.bias).compactMap { part in
      let start = part.value &+ library.bias
      let (end, overflow) = start.addingReportingOverflow(max(1, part.size))
      return overflow ? nil : start..<end
    }
  }

  /// The file's `.symtab`; nil when the file cannot be read. Kept, because it is asked for frame after frame.
  public func fileSymbols(of library: LoadedLibrary) -> SymbolTable? {
    let key = library.image.extent.lowerBound
    if let known = cachedFileSymbols[key] { return known }
    let table = (try? localSymbols(of: library)) ?? nil
    cachedFileSymbols[key] = .some(table)
    return table
  }

  /// The same for those who must know why not: nil when the file cannot be opened, `elf.malformed` when it is damaged.
  public func localSymbols(of library: LoadedLibrary) throws(CodedError) -> SymbolTable? {
    if let file = library.file?.file { return try file.staticSymbols() }
    guard let file = try? ELFFile(path: openablePath(of: library)) else { return nil }
    return try file.staticSymbols()
  }

  /// A path under which the very file that is mapped can be opened: by its name when that still leads to it, else through
  /// /proc/PID/map_files (which takes CAP_CHECKPOINT_RESTORE).
  public func openablePath(of library: LoadedLibrary) -> String {
    if library.isMain { return "/proc/\(memory.thread)/exe" }
    guard let mapping = map.mapping(containing: library.image.extent.lowerBound) else { return visiblePath(library.path) }
    return mapping.openablePath(through: memory.thread)
  }

  /// A path by which this program can open what the process has mapped from `path`: through the process's own root.
  public func visiblePath(_ path: String) -> String { "/proc/\(memory.thread)/root" + path }

  // MARK: - Checks of the program file

  /// A leader that called pthread_exit stays as a zombie without memory; the other threads still have it.
  private static func liveThread(_ facts: ProcessFacts) throws(CodedError) -> pid_t {
    if facts.state != "Z" && facts.state != "X" { return facts.pid }
    for tid in ThreadList.read(of: facts.pid) {
      if let state = ThreadList.state(of: tid, in: facts.pid), state != UInt8(ascii: "Z"), state != UInt8(ascii: "X") { return tid }
    }
    throw CodedError(.processZombie, "process \(facts.pid) (\(facts.comm)) has ended", data: ["pid": .integer(Int64(facts.pid))])
  }

  private static func executablePath(_ pid: pid_t, _ thread: pid_t) throws(CodedError) -> String {
    if let path = linkTarget("/proc/\(thread)/exe") { return path }
    let number = errno
    if number == EACCES || number == EPERM { throw .permission(pid, "look into", errno: number) }
    if number == ENOENT, ThreadList.isKernelThread(pid) {
      throw CodedError(.processForeignLoader, "process \(pid) is a kernel thread", data: ["pid": .integer(Int64(pid))])
    }
    throw .gone(pid)
  }

  private static func checkProgram(_ pid: pid_t, _ thread: pid_t, _ path: String) throws(CodedError) {
    let header = try ProcFile.read("/proc/\(thread)/exe", of: pid, to: "read the program of", limit: 4096)
    let name = printable(path)
    let data: KeyValuePairs<String, DiagnosticValue> = ["pid": .integer(Int64(pid)), "path": .text(path)]
    guard header.count >= 64, Array(header[0..<4]) == [0x7f, 0x45, 0x4c, 0x46] else {
      throw CodedError(.processForeignLoader, "process \(pid): \(name) is not an ELF program", data: data)
    }
    // e_ident[EI_CLASS] == ELFCLASS64, e_machine == EM_X86_64
    guard header[4] == 2, header[18] == 62, header[19] == 0 else {
      throw CodedError(.processWordSize, "process \(pid) (\(name)) is not a 64-bit x86-64 program", data: data)
    }
    guard let interpreter = interpreter(of: header) else {
      if basename(of: path).hasPrefix("ld-linux") {
        // The kernel then knows no program but the loader, whose own image says nothing of what it has loaded.
        throw CodedError(
          .processStatic, "process \(pid) was started by calling its loader (\(name)), which hides the program",
          hint: "start it by the program's own name; LD_PRELOAD and LD_LIBRARY_PATH do what the loader's options do", data: data)
      }
      throw CodedError(.processStatic, "process \(pid) (\(name)) is statically linked", data: data)
    }
    guard basename(of: interpreter).hasPrefix("ld-linux") else {
      throw CodedError(
        .processForeignLoader, "process \(pid) (\(name)) runs under \(printable(interpreter)), not under glibc's loader", data: data)
    }
  }

  /// PT_INTERP's path; the program headers and the path lie in the first page of every ordinary program.
  private static func interpreter(of header: [UInt8]) -> String? {
    func word(_ offset: Int, _ size: Int) -> UInt64 {
      guard offset >= 0, offset + size <= header.count else { return 0 }
      return (0..<size).reversed().reduce(0) { $0 << 8 | UInt64(header[offset + $1]) }
    }
    let start = Int(clamping: word(32, 8))
    for index in 0..<min(Int(word(56, 2)), 64) {
      let entry = start + index * 56
      guard entry + 56 <= header.count, word(entry, 4) == 3 else { continue }
      let offset = Int(clamping: word(entry + 8, 8))
      let size = Int(clamping: word(entry + 32, 8))
      guard offset < header.count, size > 1, size <= header.count - offset else { return "" }
      return String(decoding: header[offset..<(offset + size - 1)], as: UTF8.self)
    }
    return nil
  }
}
