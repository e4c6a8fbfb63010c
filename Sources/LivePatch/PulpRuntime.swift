import CPulpABI
import Diagnostics
import ELF
import Inferior
import Tracing

/// Our runtime inside one process: where its parts are, and what they say. Reading stops nothing.
public final class PulpRuntime {
  /// Of SUSE's interface, as the runtime tells it to SUSE's tool.
  public static let interfaceVersion = PULP_LIBPULP_VERSION

  public let process: TargetProcess
  let ext: pulp_ext
  let library: LoadedLibrary
  let memory: ProcessMemory

  /// Finds the runtime. Fails with `runtime.missing`, `runtime.foreign`, `runtime.version`, `runtime.corrupt`, `process.starting`.
  public init(in process: TargetProcess) throws(CodedError) {
    self.process = process
    memory = process.memory
    let library = try PulpRuntime.library(in: process)
    self.library = library
    guard let address = try library.image.address(of: "__ulp_ext") else {
      throw CodedError(
        .runtimeForeign, "\(printable(library.path)) in process \(process.pid) is not ulpsh's runtime",
        data: ["pid": .integer(Int64(process.pid)), "path": .text(library.path)])
    }
    var table = try memory.load(address.rawValue, as: pulp_ext.self)
    // A runtime from before these were added: what follows its table is something else.
    if table.size < UInt32(MemoryLayout<pulp_ext>.offset(of: \.queue)!) {
      (table.memory_files, table.memory_open, table.memory_close) = (0, 0, 0)
    }
    if table.size < UInt32(MemoryLayout<pulp_ext>.size) { table.queue = 0 }
    ext = table
    try checkTable()
  }

  private static func library(in process: TargetProcess) throws(CodedError) -> LoadedLibrary {
    func find() throws(CodedError) -> LoadedLibrary? { try process.libraries().first { $0.name.hasPrefix("libpulp.so") } }
    if let library = try find() { return library }
    guard process.awaitLoader() else { throw starting(process, "its dynamic loader is still at work") }
    if let library = try find() { return library }
    throw CodedError(
      .runtimeMissing, "libpulp.so is not loaded in process \(process.pid)", data: ["pid": .integer(Int64(process.pid))])
  }

  private static func starting(_ process: TargetProcess, _ reason: String) -> CodedError {
    CodedError(.processStarting, "process \(process.pid) is still being started: \(reason)", data: ["pid": .integer(Int64(process.pid))])
  }

  private func checkTable() throws(CodedError) {
    // Its constructor writes the number last.
    if ext.magic == 0 { throw PulpRuntime.starting(process, "libpulp.so has not run its constructor") }
    guard ext.magic == PULP_EXT_MAGIC else { throw corrupt("its table has no magic number") }
    guard ext.version == PULP_ABI_VERSION else {
      throw CodedError(
        .runtimeVersion, "libpulp.so in process \(process.pid) speaks protocol \(ext.version), this ulpsh speaks \(PULP_ABI_VERSION)",
        data: ["pid": .integer(Int64(process.pid)), "found": .integer(Int64(ext.version)), "expected": .integer(Int64(PULP_ABI_VERSION))])
    }
    let extent = library.image.extent
    let places = [ext.slots, ext.universe, ext.operation, ext.transitions, ext.patches, ext.mailbox, ext.call_entry, ext.stage,
      ext.unload, ext.request, ext.error_state, ext.messages, ext.state, ext.pool_start]
    guard ext.pool_count == PULP_POOL_COUNT, ext.stub_size == PULP_STUB_SIZE,
      places.allSatisfy({ extent.contains($0) && isCode($0) }), ext.queue == 0 || extent.contains(ext.queue + 16),
      ext.pool_end &- ext.pool_start == UInt64(PULP_POOL_COUNT) * UInt64(PULP_STUB_SIZE)
    else { throw corrupt("its table points outside of it") }
    guard ext.call_stack_top > ext.call_stack_bottom else { throw corrupt("it has no call stack") }
  }

  func corrupt(_ reason: String) -> CodedError {
    CodedError(.runtimeCorrupt, "libpulp.so in process \(process.pid): \(reason)", data: ["pid": .integer(Int64(process.pid))])
  }

  var callSite: CallSite {
    CallSite(
      entry: ext.call_entry, abandon: ext.call_abandon, text: ext.call_text_start..<max(ext.call_text_start, ext.call_text_end),
      stack: ext.call_stack_bottom..<ext.call_stack_top, mailbox: ext.mailbox)
  }

  /// Takes out what a tool of SUSE's has left of an operation that is over: the next one would carry it out.
  func emptyQueue() throws(CodedError) {
    let counts = ext.queue + UInt64(MemoryLayout<pulp_insn_queue>.offset(of: \.num_insns)!)
    guard ext.queue != 0, try memory.load(counts, as: UInt64.self) != 0 else { return }
    try memory.store(UInt64(0), to: counts)  // and `size`
  }

  var pool: Range<UInt64> { ext.pool_start..<ext.pool_end }

  func stub(_ slot: UInt32) -> UInt64 { ext.pool_start + UInt64(slot) * UInt64(PULP_STUB_SIZE) }
  func slotAddress(_ slot: UInt32) -> UInt64 { ext.slots + UInt64(slot) * UInt64(MemoryLayout<pulp_slot>.size) }

  // MARK: - State

  /// The generation of detours that is in force. 1 when nothing was ever applied. Nobody counts further than the limit.
  public func universe() throws(CodedError) -> UInt64 {
    try checked(universe: try memory.load(ext.universe, as: UInt64.self))
  }

  func checked(universe: UInt64) throws(CodedError) -> UInt64 {
    guard universe > 0, universe < 1 << 62 else { throw corrupt("its generation is \(universe)") }
    return universe
  }

  /// 0, or the SUSE error number with which patching is switched off.
  public func errorState() throws(CodedError) -> Int32 { try memory.load(ext.error_state, as: Int32.self) }

  func operation() throws(CodedError) -> pulp_operation { try memory.load(ext.operation, as: pulp_operation.self) }

  /// The transitions of the operation in progress; bounded by the pool.
  func transitions(of operation: pulp_operation) throws(CodedError) -> [pulp_transition] {
    guard operation.transition_count <= PULP_POOL_COUNT else { throw corrupt("its operation has \(operation.transition_count) transitions") }
    let found = try memory.load(ext.transitions, count: Int(operation.transition_count), as: pulp_transition.self)
    guard found.allSatisfy({ $0.slot < PULP_POOL_COUNT && $0.point_offset <= 4 && isCode($0.entry) && isCode($0.old_target) && isCode($0.new_target) })
    else { throw corrupt("a transition is malformed") }
    return found
  }

  /// Whether an address out of the process's memory can be one of code at all: arithmetic with it is safe then.
  func isCode(_ address: UInt64) -> Bool { address >= 4096 && address < 1 << 56 }

  /// The text that stage and unload left in the mailbox.
  func mailboxText(_ mailbox: pulp_mailbox) -> String {
    let offset = UInt64(MemoryLayout<pulp_mailbox>.offset(of: \.text)!)
    let size = min(Int(mailbox.text_size), Int(PULP_MESSAGE_MAX))
    return String(decoding: memory.readPrefix(ext.mailbox + offset, count: size), as: UTF8.self)
  }

  /// The runtime's messages, oldest first, as one text; cut at the ring's size.
  public func messages() throws(CodedError) -> String {
    let size = Int(PULP_MSG_RING_SIZE)
    let indexes = try memory.load(ext.messages + UInt64(size), count: 3, as: UInt32.self)
    let bottom = Int(indexes[1])
    let distance = Int(indexes[2])
    guard bottom < size, distance <= size else { throw corrupt("its message ring is malformed") }
    let first = min(distance, size - bottom)
    var bytes = try memory.read(ext.messages + UInt64(bottom), count: first)
    if distance > first { bytes += try memory.read(ext.messages, count: distance - first) }
    return String(decoding: bytes.filter { $0 != 0 }, as: UTF8.self)
  }
}
