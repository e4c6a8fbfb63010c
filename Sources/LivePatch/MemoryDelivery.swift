import CLinux
import CPulpABI
import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// How a process comes by the file of a container.
public enum Delivery: String, Sendable, CaseIterable {
  /// Its loader opens the path.
  case path
  /// From a sealed memory file (memfd_create(2)) with the bytes that were checked: for a process that cannot open the path.
  case memory = "memfd"
}

/// A container in a sealed memory file of the process: which one, and what its mappings will show.
struct MemoryFile {
  let index: Int
  let identity: FileIdentity
}

extension PulpRuntime {
  /// Fails with `runtime.version` for a runtime of earlier times.
  func requireMemoryFiles() throws(CodedError) {
    guard ext.memory_open == 0 else { return }
    throw CodedError(
      .runtimeVersion, "libpulp.so in process \(process.pid) is older than this ulpsh and takes no memory files",
      hint: "leave out `deliver = \"memfd\"`, or restart the program", data: ["pid": .integer(Int64(process.pid))])
  }

  /// Whether memory files are open that no stage has closed: their tool died.
  func hasMemoryFiles() throws(CodedError) -> Bool {
    guard ext.memory_files != 0 else { return false }
    return try memory.load(ext.memory_files, count: Int(PULP_MEMORY_FILES), as: pulp_memory_file.self).contains { $0.is_open != 0 }
  }
}

extension ChangeSession {
  /// Has a memory file made in the process for each container that is to be delivered so, fills and seals it. They are closed
  /// by the stage, or here when one cannot be made. Fails with `container.undeliverable`, `container.changed`, and as a call.
  func deliver(_ plan: PatchPlan, until deadline: Deadline, on wanted: pid_t?) throws(CodedError) -> [Int: MemoryFile] {
    var files: [Int: MemoryFile] = [:]
    guard plan.applies.contains(where: { $0.contents != nil }) else { return files }
    try runtime.requireMemoryFiles()
    do throws(CodedError) {
      for (index, apply) in plan.applies.enumerated() {
        guard let container = apply.contents else { continue }
        files[index] = try deliver(container, apply, until: deadline, on: wanted)
      }
    } catch {
      closeMemoryFiles()
      throw error
    }
    return files
  }

  /// Closes what is open of them. What cannot be closed now is closed by the next change: the runtime has a list.
  func closeMemoryFiles(timeout: UInt64 = 1_000_000) {
    guard (try? runtime.hasMemoryFiles()) == true else { return }
    _ = try? call(runtime.ext.memory_close, until: Deadline(afterMicroseconds: timeout))
  }

  private func deliver(
    _ container: Container, _ apply: PatchPlan.Apply, until deadline: Deadline, on wanted: pid_t?
  ) throws(CodedError) -> MemoryFile {
    let pid = process.pid
    func undeliverable(_ reason: String, _ number: Int32) -> CodedError {
      CodedError(
        .containerUndeliverable, "process \(pid) cannot be given \(printable(apply.path)) as a memory file: \(reason)",
        data: ["pid": .integer(Int64(pid)), "path": .text(apply.path), "errno": .integer(Int64(number))])
    }
    // The kernel takes names of up to 249 bytes; mappings show "/memfd:" and this (proc(5)).
    let name = Array("ulpsh-".utf8) + basename(of: apply.path).utf8.filter { $0 != 0 }.prefix(200)
    try process.memory.write(name + [0], to: runtime.ext.request)
    let answer = try call(runtime.ext.memory_open, [runtime.ext.request], until: deadline, on: wanted, needs: .memoryFile)
    let index = Int64(bitPattern: answer.value)
    guard index >= 0 else {
      let number = Int32(truncatingIfNeeded: 0 &- index)
      throw undeliverable("memfd_create: " + errnoText(number), number)
    }
    guard index < Int64(PULP_MEMORY_FILES) else { throw runtime.corrupt("it names memory file \(index)") }
    let place = runtime.ext.memory_files &+ UInt64(index) * UInt64(MemoryLayout<pulp_memory_file>.stride)
    let listed = try process.memory.load(place, as: pulp_memory_file.self)
    // Through the thread that made it: threads can have descriptor tables of their own (unshare(2)).
    let path = "/proc/\(pid)/task/\(answer.carrier)/fd/\(listed.descriptor)"
    ul_step()
    let descriptor = MemoryFile.open(path)
    guard descriptor >= 0 else { throw undeliverable("\(path): " + errnoText(-descriptor), -descriptor) }
    defer { close(descriptor) }
    let identity = FileIdentity(device: listed.device, inode: listed.inode)
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino)) == identity else {
      throw undeliverable("the program has closed it meanwhile", EBADF)
    }
    do throws(CodedError) {
      if let number = try MemoryFile.fill(descriptor, with: container.file.bytes) { throw undeliverable(errnoText(number), number) }
    } catch {
      guard error.code == .elfMalformed || error.code == .fileUnreadable else { throw error }
      try container.requireUnchanged()
      throw error
    }
    try container.requireUnchanged()
    return MemoryFile(index: Int(index), identity: identity)
  }
}

extension MemoryFile {
  /// F_ADD_SEALS of <fcntl.h>, and F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE: nobody can change it any more.
  private static let addSeals: Int32 = 1033
  private static let getSeals: Int32 = 1034
  /// O_PATH.
  private static let nameOnly: Int32 = 0o10000000
  private static let seals: Int32 = 1 | 2 | 4 | 8

  /// Opens what the process calls an empty memory file, to be written; -errno when it is anything else.
  ///
  /// The number is the process's word. It can lead to any file or device that the process could name (O_PATH), and we may
  /// open and write what the process may not: nothing is opened that is no regular file, and written that is not a memory
  /// file without contents and seals. A regular file of tmpfs(5) is sealed against seals from the beginning (fcntl(2)).
  fileprivate static func open(_ path: String) -> Int32 {
    let handle = Glibc.open(path, nameOnly | O_CLOEXEC)
    guard handle >= 0 else { return -errno }
    defer { close(handle) }
    var facts = stat()
    guard fstat(handle, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else { return -EBADF }
    let descriptor = Glibc.open("/proc/self/fd/\(handle)", O_RDWR | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return -errno }
    let seals = fcntl(descriptor, getSeals)
    guard seals >= 0, seals & 1 == 0, fstat(descriptor, &facts) == 0, facts.st_size == 0 else {
      close(descriptor)
      return -EBADF
    }
    return descriptor
  }

  /// Copies a file into an empty memory file, seals that, and compares: others could write until it was sealed. Returns
  /// errno on failure.
  fileprivate static func fill(_ descriptor: Int32, with source: FileBytes) throws(CodedError) -> Int32? {
    let step = 1 << 20
    for offset in stride(from: 0, to: source.size, by: step) {
      let bytes = try source.read(UInt64(offset), count: min(step, source.size - offset))
      ul_step()
      var written = 0
      while written < bytes.count {
        let count = bytes[written...].withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset + written)) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return count < 0 ? errno : ENOSPC }
        written += count
      }
    }
    ul_step()
    guard fcntl(descriptor, addSeals, seals) == 0 else { return errno }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, Int(facts.st_size) == source.size else { return EBUSY }
    for offset in stride(from: 0, to: source.size, by: step) {
      let wanted = try source.read(UInt64(offset), count: min(step, source.size - offset))
      var found = [UInt8](repeating: 0, count: wanted.count)
      let count = found.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
      guard count == wanted.count, found == wanted else { return EBUSY }
    }
    return nil
  }
}
