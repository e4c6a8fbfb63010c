import CLinux
import Glibc

/// A mapping with code: what it takes to know whether unwind information still is that of what is mapped.
struct CodeMapping: Hashable {
  let range: Range<UInt64>
  let offset: UInt64
  let device: UInt64
  let inode: UInt64

  /// More than this are compared by the whole text of /proc/PID/maps.
  private static let limit = 512

  /// The mappings with code of a process as they are now, a fifth of the work of reading all. Nil where the kernel cannot
  /// be asked for them (PROCMAP_QUERY of ioctl_list(2) came with Linux 6.11), and for a process that has gone.
  static func list(of thread: pid_t) -> [CodeMapping]? {
    var count = 0
    let found = [ul_code_mapping](unsafeUninitializedCapacity: limit) { buffer, initialized in
      count = ul_code_mappings(thread, buffer.baseAddress!, Int32(buffer.count))
      initialized = max(0, count)
    }
    guard count > 0, count < limit else { return nil }
    return found.map {
      CodeMapping(
        range: $0.start..<max($0.start, $0.end), offset: $0.offset,
        device: deviceNumber(UInt64($0.major), UInt64($0.minor)), inode: $0.inode)
    }
  }
}
