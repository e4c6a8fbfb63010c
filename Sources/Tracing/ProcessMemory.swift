import CLinux
import Diagnostics
import Glibc

/// The memory of another process: read and written without stopping it.
///
/// Reading goes through process_vm_readv(2); writing through /proc/PID/mem, whose forced writes make a private copy of a
/// read-only page and leave its protection alone, and which stays with the program it was opened on.
public final class ProcessMemory {
  public let pid: pid_t
  /// The thread whose /proc entry and memory are used: the leader, unless it has exited and left its process to others.
  public private(set) var thread: pid_t
  private let descriptor: Int32
  /// The error number of the last access that failed, 0 when less was there than was wanted.
  private var refusal: Int32 = 0

  /// Opens /proc/TID/mem. Fails with `process.permission` or `process.not_found`.
  public init(of pid: pid_t, through thread: pid_t? = nil) throws(CodedError) {
    self.pid = pid
    self.thread = thread ?? pid
    descriptor = open("/proc/\(self.thread)/mem", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      let number = errno
      if number == ENOENT || number == ESRCH { throw .noSuchProcess(pid) }
      throw .permission(pid, "open the memory of", errno: number)
    }
  }

  deinit { close(descriptor) }

  /// Moves to a live thread when the one that was used has ended: a leader that calls pthread_exit leaves its process to
  /// the others, and /proc shows no mappings for it any more. The open file stays good.
  public func followThreads() {
    let isOver: (pid_t) -> Bool = { [pid] tid in ThreadList.hasEnded(tid, in: pid) }
    guard isOver(thread), let next = ThreadList.read(of: pid).first(where: { !isOver($0) }) else { return }
    thread = next
  }

  /// `count` bytes at `address`. Fails with `memory.unreadable` unless all of them can be read.
  public func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    let bytes = readPrefix(address, count: count)
    guard bytes.count == count else { throw unreadable(address, count) }
    return bytes
  }

  /// As many of `count` bytes as can be read from `address` on; empty when none can.
  public func readPrefix(_ address: UInt64, count: Int) -> [UInt8] {
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = max(0, fetch(buffer.baseAddress, address, count))
    }
  }

  /// Pieces of `count` bytes each from many places, one after the other: one system call for a thousand of them.
  public func read(_ addresses: [UInt64], each count: Int) throws(CodedError) -> [UInt8] {
    if addresses.count <= Int(UL_VM_PIECES) { return try readPieces(addresses, count) }
    var bytes: [UInt8] = []
    var first = 0
    while first < addresses.count {
      let part = addresses[first..<min(first + Int(UL_VM_PIECES), addresses.count)]
      bytes += try readPieces(Array(part), count)
      first += part.count
    }
    return bytes
  }

  /// Words from many places, read in this order by one system call.
  public func words(_ addresses: [UInt64]) throws(CodedError) -> [UInt64] {
    let bytes = try read(addresses, each: 8)
    return bytes.withUnsafeBytes { all in addresses.indices.map { all.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) } }
  }

  private func readPieces(_ addresses: [UInt64], _ count: Int) throws(CodedError) -> [UInt8] {
    let size = addresses.count * count
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
      initialized = max(0, ul_vm_read_pieces(thread, buffer.baseAddress, addresses, Int32(addresses.count), count))
    }
    if bytes.count == size { return bytes }
    // Something cannot be read, or the thread has ended: one by one it will be seen what.
    var all: [UInt8] = []
    for address in addresses { all += try read(address, count: count) }
    return all
  }

  /// A value of trivial type `Value` at `address`, byte for byte.
  public func load<Value: BitwiseCopyable>(_ address: UInt64, as type: Value.Type) throws(CodedError) -> Value {
    var got = 0
    let value = withUnsafeTemporaryAllocation(of: Value.self, capacity: 1) { buffer -> Value? in
      got = fetch(buffer.baseAddress, address, MemoryLayout<Value>.size)
      return got == MemoryLayout<Value>.size ? buffer[0] : nil
    }
    guard let value else { throw unreadable(address, MemoryLayout<Value>.size) }
    return value
  }

  /// `count` values that follow one another at `address`.
  public func load<Value: BitwiseCopyable>(
    _ address: UInt64, count: Int, as type: Value.Type
  ) throws(CodedError) -> [Value] {
    guard count > 0 else { return [] }
    let size = count * MemoryLayout<Value>.stride
    var complete = false
    let values = [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
      complete = fetch(buffer.baseAddress, address, size) == size
      initialized = complete ? count : 0
    }
    guard complete else { throw unreadable(address, size) }
    return values
  }

  /// Writes data as the process itself could: its pages must be writable. Fails with `memory.unwritable`.
  public func poke(_ bytes: [UInt8], to address: UInt64) throws(CodedError) {
    guard !bytes.isEmpty else { return }
    let count = bytes.withUnsafeBytes { ul_vm_write(thread, $0.baseAddress, address, $0.count) }
    refusal = count < 0 ? Int32(-count) : 0
    guard count == bytes.count else { throw unwritable(address, bytes.count) }
  }

  /// Writes data of the runtime and of call frames. Fails with `memory.unwritable`.
  public func write(_ bytes: [UInt8], to address: UInt64) throws(CodedError) {
    guard !bytes.isEmpty else { return }
    let count = bytes.withUnsafeBytes { put($0.baseAddress, address, $0.count) }
    guard count == bytes.count else { throw unwritable(address, bytes.count) }
  }

  /// Writes a value of trivial type.
  public func store<Value: BitwiseCopyable>(_ value: Value, to address: UInt64) throws(CodedError) {
    let count = withUnsafeBytes(of: value) { put($0.baseAddress, address, $0.count) }
    guard count == MemoryLayout<Value>.size else { throw unwritable(address, MemoryLayout<Value>.size) }
  }

  /// Writes text or read-only data. The kernel copies within a page in one go, page by page across a boundary.
  public func writeText(_ bytes: [UInt8], to address: UInt64) throws(CodedError) {
    guard !bytes.isEmpty else { return }
    let count = bytes.withUnsafeBytes { put($0.baseAddress, address, $0.count) }
    guard count == bytes.count else { throw unwritable(address, bytes.count) }
  }

  /// A NUL-terminated string of at most `limit` bytes, without the NUL; what is there when no NUL comes.
  public func cstring(_ address: UInt64, limit: Int = 4096) throws(CodedError) -> [UInt8] {
    var text: [UInt8] = []
    var cursor = address
    while text.count < limit {
      // Never read across a page boundary: the next page may not be mapped.
      let step = min(Int(4096 - cursor % 4096), limit - text.count, 256)
      let part = readPrefix(cursor, count: step)
      if part.isEmpty {
        if text.isEmpty { throw unreadable(address, 1) }
        return text
      }
      if let end = part.firstIndex(of: 0) { return text + part[..<end] }
      text += part
      cursor += UInt64(part.count)
    }
    return text
  }

  /// process_vm_readv(2) needs a live thread, and that neither a filter (of a container that the tool runs in) nor a security
  /// module forbids it. The open file needs none of that, but is slower.
  private func fetch(_ local: UnsafeMutableRawPointer?, _ address: UInt64, _ count: Int) -> Int {
    var got = ul_vm_read(thread, local, address, count)
    if got < 0 && got != -Int(EFAULT), let local {
      got = pread(descriptor, local, count, off_t(truncatingIfNeeded: address))
      if got < 0 { got = -Int(errno) }
    }
    refusal = got < 0 ? Int32(-got) : 0
    return got
  }

  /// Through the open file, which stays with the address space it was opened on: between two writes the process may execute
  /// another program, which can have anything at the same address.
  private func put(_ local: UnsafeRawPointer?, _ address: UInt64, _ count: Int) -> Int {
    let written = ul_mem_write(descriptor, local, address, count)
    refusal = written < 0 ? Int32(-written) : 0
    return written
  }

  /// Whether the process has executed another program since this was opened, or has ended.
  public var isOver: Bool {
    var byte: UInt8 = 0
    return pread(descriptor, &byte, 1, 4096) == 0
  }

  /// Whether it has executed another program and runs that. One that is ending has no memory either, but no program.
  public var isReplaced: Bool {
    var byte: CChar = 0
    return isOver && readlink("/proc/\(pid)/exe", &byte, 1) > 0
  }

  private func unreadable(_ address: UInt64, _ count: Int) -> CodedError { inaccessible(.memoryUnreadable, "read", address, count) }

  private func unwritable(_ address: UInt64, _ count: Int) -> CodedError { inaccessible(.memoryUnwritable, "write", address, count) }

  private func inaccessible(_ code: ErrorCode, _ verb: String, _ address: UInt64, _ count: Int) -> CodedError {
    // These say no more than that it is so.
    let reason = [0, EFAULT, EIO].contains(refusal) ? "" : ": " + errnoText(refusal)
    let hint = CodedError.hint(forLackOf: refusal)
    if isReplaced { return .replaced(pid) }
    return ended ? .gone(pid) : CodedError(
      code, "cannot \(verb) \(count) bytes at \(hex(address)) of process \(pid)\(reason)", hint: hint,
      data: ["pid": .integer(Int64(pid)), "address": .integer(Int64(bitPattern: address)), "count": .integer(Int64(count))])
  }

  /// Whether the address space this was opened on is gone: the kernel then says "end of file" for every address, also while
  /// the process is still a zombie (proc_pid_mem(5) promises an error for an unmapped address).
  private var ended: Bool { isOver || kill(pid, 0) < 0 && errno == ESRCH }
}

/// An address as people write it.
public func hex(_ address: UInt64) -> String { "0x" + String(address, radix: 16) }
