import Diagnostics
import ELF
import Glibc
import Inferior
import LivePatch
import LuaBridge
import Tracing

/// `ulp.Process` and `core.attach`: looking into a process and writing to it.
enum ProcessModule {
  static func install(in state: LuaState, core: LuaModule) {
    state.define(ProcessHandle.self, "ulp.Process") { process in
      defineFacts(process)
      defineMemory(process)
      defineSymbols(process)
      RuntimeModule.extend(process)
      process.description { $0.isOpen ? "Process \($0.pid)" : "Process \($0.pid) (closed)" }
      process.equality { $0.pid == $1.pid && (try? $0.open().identity) == (try? $1.open().identity) }
      process.onClose { $0.close() }
    }
    core.query("attach", "pid") { arguments in
      let pid = try arguments.integer(1)
      guard pid > 0, pid <= Int64(Int32.max) else { throw CodedError.noSuchProcess(pid_t(truncatingIfNeeded: pid)) }
      return LuaBox(ProcessHandle(try TargetProcess(attachingTo: pid_t(pid))))
    }
    core.function("pids") { _ in processNumbers() }
    core.function("process_facts", "pid") { arguments -> LuaRecord? in
      facts(of: pid_t(truncatingIfNeeded: try arguments.integer(1)))
    }
    core.function("control_group", "pid") { arguments in
      record(ControlGroup(of: pid_t(truncatingIfNeeded: try arguments.integer(1))))
    }
    core.function("maps_file", "pid", "name") { arguments in
      mapsFile(pid_t(truncatingIfNeeded: try arguments.integer(1)), try arguments.string(2))
    }
  }

  /// The numeric entries of /proc.
  private static func processNumbers() -> [Int] {
    let descriptor = Glibc.open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return ThreadList.numbers(in: descriptor).sorted().map { Int($0) }
  }

  /// The few facts by which processes are chosen, without opening the process.
  private static func facts(of pid: pid_t) -> LuaRecord? {
    (try? ProcessFacts(of: pid)).map(record)
  }

  private static func record(_ facts: ProcessFacts) -> LuaRecord {
    var record: LuaRecord = [
      "pid": Int64(facts.pid), "comm": facts.comm, "state": String(facts.state), "uid": Int64(facts.uid), "user": userName(facts.uid),
    ]
    if facts.namespacePID != facts.pid { record.set("inner_pid", Int64(facts.namespacePID)) }
    return record
  }

  /// Whether a file with that name, or whose name starts so up to a `*`, is mapped: one reading of /proc/PID/maps.
  private static func mapsFile(_ pid: pid_t, _ name: String) -> Bool {
    let wanted = Array(name.utf8)
    guard let text = ProcFile.read("/proc/\(pid)/maps") else { return false }
    var line = text[...]
    while let end = line.firstIndex(of: 0x0a) {
      let row = line[line.startIndex..<end]
      if let slash = row.lastIndex(of: 0x2f) {
        let file = row[(slash + 1)...]
        if file.elementsEqual(wanted) || (wanted.last == 0x2a && file.starts(with: wanted.dropLast())) { return true }
      }
      line = line[(end + 1)...]
    }
    return false
  }

  /// The last one is remembered for a second: in a fleet all processes have the same.
  nonisolated(unsafe) private static var lastUser: (uid: uid_t, name: String, until: Deadline)?

  static func userName(_ uid: uid_t) -> String {
    if let lastUser, lastUser.uid == uid, !lastUser.until.hasPassed { return lastUser.name }
    var name = String(uid)
    if let entry = getpwuid(uid), let found = entry.pointee.pw_name { name = String(cString: found) }
    lastUser = (uid, name, Deadline(afterMicroseconds: 1_000_000))
    return name
  }

  // MARK: - Facts

  private static func defineFacts(_ process: LuaClass<ProcessHandle>) {
    process.property("pid") { Int64($0.pid) }
    process.property("exe") { try $0.open().executable }
    process.property("comm") { try $0.open().facts().comm }
    process.property("state") { String(try $0.open().facts().state) }
    process.property("uid") { Int64(try $0.open().facts().uid) }
    process.property("user") { userName(try $0.open().facts().uid) }
    process.property("inner_pid") { Int64(try $0.open().facts().namespacePID) }
    process.property("start_time") { try $0.open().identity.startTime }
    process.property("alive") { !(try $0.open().hasEnded) }
    process.property("replaced") { try $0.open().memory.isReplaced }
    process.property("unit") { ControlGroup(of: try $0.open().memory.thread).unit }
    process.property("container_id") { ControlGroup(of: try $0.open().memory.thread).container }
    process.property("container_engine") { ControlGroup(of: try $0.open().memory.thread).engine }
    process.property("facts") { record(try $0.open().facts()) }
    process.property("namespaces") { handle in namespaces(try handle.open().memory.thread) }
    process.property("threads") { handle in try threads(handle.open()) }
    process.property("maps") { handle in
      let target = try handle.open()
      target.refresh()
      return try target.readableMap().mappings.map(record)
    }
    process.property("libs") { handle in try libraries(handle.open()) }
  }

  private static func threads(_ target: TargetProcess) -> [LuaRecord] {
    ThreadList.read(of: target.pid).map { tid in
      let name = ProcFile.read("/proc/\(target.pid)/task/\(tid)/comm", limit: 64).map { String(decoding: $0.dropLast(), as: UTF8.self) } ?? ""
      let state = ThreadList.state(of: tid, in: target.pid).map { String(UnicodeScalar($0)) } ?? "X"
      return ["tid": Int64(tid), "name": printable(name), "state": state]
    }
  }

  private static func record(_ mapping: Mapping) -> LuaRecord {
    [
      "first": mapping.range.lowerBound, "last": mapping.range.upperBound, "permissions": mapping.permissions,
      "offset": mapping.offset, "inode": mapping.inode, "path": mapping.path,
    ]
  }

  /// A sequence in link map order that can also be asked by name.
  private static func libraries(_ target: TargetProcess) throws(CodedError) -> LuaRecordList {
    target.refresh()
    var list = LuaRecordList()
    for library in try target.libraries() {
      var record: LuaRecord = [
        "name": library.name, "path": library.path, "bias": library.bias, "first": library.image.extent.lowerBound,
        "last": library.image.extent.upperBound, "main": library.isMain,
      ]
      if let id = try? library.image.buildID() { record.set("build_id", id.description) }
      list.append(record, named: library.name)
    }
    return list
  }

  private static func namespaces(_ thread: pid_t) -> LuaRecord {
    var record = LuaRecord()
    for name in ["mnt", "pid", "net", "user", "ipc", "uts", "cgroup"] {
      var facts = stat()
      if stat("/proc/\(thread)/ns/\(name)", &facts) == 0 { record.set(name, UInt64(facts.st_ino)) }
    }
    return record
  }

  private static func record(_ group: ControlGroup) -> LuaRecord {
    var record = LuaRecord()
    if let unit = group.unit { record.set("unit", unit) }
    if let container = group.container { record.set("container_id", container) }
    if let engine = group.engine { record.set("container_engine", engine) }
    return record
  }

  // MARK: - Memory

  private static func defineMemory(_ process: LuaClass<ProcessHandle>) {
    process.method("read", "address", "count") { handle, arguments in
      let count = Int(try arguments.integer(2, in: 0...1 << 28))
      return LuaBytes(try handle.open().memory.read(try arguments.address(1), count: count))
    }
    process.method("write", "address", "bytes") { handle, arguments in
      try handle.open().memory.poke(try arguments.bytes(2), to: try arguments.address(1))
    }
    process.method("write_text", "address", "bytes") { handle, arguments in
      try handle.open().memory.writeText(try arguments.bytes(2), to: try arguments.address(1))
    }
    process.method("cstring", "address", "limit") { handle, arguments in
      let limit = arguments.isAbsent(2) ? 4096 : Int(try arguments.integer(2, in: 1...1 << 20))
      return LuaBytes(try handle.open().memory.cstring(try arguments.address(1), limit: limit))
    }
  }

  // MARK: - Symbols

  private static func defineSymbols(_ process: LuaClass<ProcessHandle>) {
    process.method("symbol", "name", "library") { handle, arguments -> UInt64? in
      let target = try handle.open()
      let name = try arguments.string(1)
      if arguments.isAbsent(2) { return try target.symbol(name) }
      let library = try target.library(named: try arguments.string(2))
      return try library?.image.address(of: name)?.rawValue
    }
    process.method("prepared", "library") { handle, arguments in
      let target = try handle.open()
      guard let library = try target.library(named: try arguments.string(1)) else { return false }
      return target.isPrepared(library)
    }
    process.method("describe", "address") { handle, arguments -> LuaRecord? in
      let address = try arguments.address(1)
      guard let found = try handle.open().describe(address) else { return nil }
      var record: LuaRecord = ["library": found.library, "offset": found.offset, "address": address]
      if let symbol = found.symbol { record.set("symbol", symbol) }
      return record
    }
    process.method("refresh") { handle, _ in try handle.open().refresh() }
    process.method("stopped", "body") { handle, arguments in
      let body = try arguments.function(1)
      let stack = arguments.stack
      let target = try handle.open()
      let stopped = try withWorldStopped(target) { threads in
        try body.callKeepingResults(on: stack, [threads.map { LuaBox(ThreadView($0, target)) }])
      }
      return LuaResults.onStack(stopped.result)
    }
  }
}

/// A thread of a stopped process as Lua sees it, with its process for names.
final class ThreadView {
  let thread: StoppedThread
  let process: TargetProcess
  init(_ thread: StoppedThread, _ process: TargetProcess) {
    self.thread = thread
    self.process = process
  }

  static func install(in state: LuaState) {
    state.define(ThreadView.self, "ulp.Thread") { view in
      view.property("tid") { Int64($0.thread.tid) }
      view.method("regs") { view, _ in
        var record = LuaRecord()
        for register in try view.thread.registers().named { record.set(register.name, register.value) }
        return record
      }
      view.method("backtrace", "limit") { view, arguments in
        let limit = arguments.isAbsent(1) ? 64 : Int(try arguments.integer(1, in: 1...4096))
        let trace = try view.thread.backtrace(limit: limit)
        return trace.frames.map { frame in frameRecord(frame.lookupAddress, frame.programCounter, view.process) }
      }
      view.description { "Thread \($0.thread.tid)" }
    }
  }
}

/// A frame with the function it is in.
func frameRecord(_ lookup: UInt64, _ pc: UInt64, _ process: TargetProcess) -> LuaRecord {
  var record: LuaRecord = ["pc": pc]
  if let found = process.describe(lookup) {
    record.set("library", found.library)
    record.set("offset", found.offset &+ (pc &- lookup))
    if let symbol = found.symbol { record.set("symbol", symbol) }
  }
  return record
}

/// A Lua sequence of records whose elements are also found by name.
struct LuaRecordList: LuaPushable {
  private var elements: [(record: LuaRecord, name: String)] = []
  mutating func append(_ record: LuaRecord, named name: String) { elements.append((record, name)) }

  func push(on stack: LuaStack) {
    var table = LuaRecord()
    // The first object of a name wins, as in the loader's search.
    for element in elements.reversed() { table.set(element.name, element.record) }
    LuaMixed(named: table, sequence: elements.map(\.record)).push(on: stack)
  }
}
