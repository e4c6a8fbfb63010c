import Diagnostics
import Glibc
import Tracing

/// One line of /proc/PID/maps (proc(5)).
public struct Mapping: Sendable {
  public let range: Range<UInt64>
  public let isReadable, isWritable, isExecutable, isShared: Bool
  public let offset: UInt64
  /// Device and inode of the mapped file; 0 and 0 for anonymous memory.
  public let device: UInt64
  public let inode: UInt64
  /// Path as the process sees it, `[stack]` and the like, or empty. A removed file ends in ` (deleted)`.
  public let path: String

  public var isFile: Bool { inode != 0 }
  public var isDeleted: Bool { path.hasSuffix(" (deleted)") }
  public var permissions: String {
    (isReadable ? "r" : "-") + (isWritable ? "w" : "-") + (isExecutable ? "x" : "-") + (isShared ? "s" : "p")
  }
}

/// The mappings of a process at one moment, in ascending order.
public struct MemoryMap: Sendable {
  public let mappings: [Mapping]

  /// Reads /proc/PID/maps; empty when the process has gone.
  public init(of pid: pid_t) {
    self.init(text: ProcFile.read("/proc/\(pid)/maps") ?? [])
  }

  init(text: [UInt8]) {
    var mappings: [Mapping] = []
    for line in text.split(separator: 0x0a) {
      if let mapping = MemoryMap.parse(line) { mappings.append(mapping) }
    }
    self.mappings = mappings
  }

  /// `start-end perms offset major:minor inode   path`
  private static func parse(_ line: ArraySlice<UInt8>) -> Mapping? {
    let fields = line.split(separator: 0x20, maxSplits: 5)
    guard fields.count >= 5, fields[1].count == 4, let dash = fields[0].firstIndex(of: 0x2d),
      let start = ProcFile.hexadecimal(fields[0][..<dash]), let end = ProcFile.hexadecimal(fields[0][(dash + 1)...]), start < end,
      let offset = ProcFile.hexadecimal(fields[2]), let inode = ProcFile.decimal(fields[4]),
      let colon = fields[3].firstIndex(of: 0x3a), let major = ProcFile.hexadecimal(fields[3][..<colon]),
      let minor = ProcFile.hexadecimal(fields[3][(colon + 1)...])
    else { return nil }
    let flags = Array(fields[1])
    let path = fields.count > 5 ? String(decoding: fields[5].drop { $0 == 0x20 }, as: UTF8.self) : ""
    return Mapping(
      range: start..<end, isReadable: flags[0] == 0x72, isWritable: flags[1] == 0x77, isExecutable: flags[2] == 0x78,
      isShared: flags[3] == 0x73, offset: offset, device: deviceNumber(major, minor),
      inode: inode, path: path)
  }

  /// The mapping that contains an address.
  public func mapping(containing address: UInt64) -> Mapping? {
    var low = 0
    var high = mappings.count
    while low < high {
      let middle = (low + high) / 2
      if mappings[middle].range.upperBound <= address { low = middle + 1 } else { high = middle }
    }
    return low < mappings.count && mappings[low].range.contains(address) ? mappings[low] : nil
  }

  /// The first mapping of the file image that `address` belongs to: the nearest one below with file offset 0 and the same
  /// inode. Several copies of a library (dlmopen) are told apart by nearness.
  public func imageBase(containing address: UInt64) -> UInt64? {
    guard let home = mapping(containing: address) else { return nil }
    let file = home.isFile ? home : nearestFile(below: home.range.lowerBound)
    guard let file else { return nil }
    return mappings.last {
      $0.range.lowerBound <= address && $0.offset == 0 && $0.inode == file.inode && $0.device == file.device
    }?.range.lowerBound
  }

  /// .bss and relocated pages may be anonymous; the file lies right below.
  private func nearestFile(below address: UInt64) -> Mapping? {
    mappings.last { $0.range.upperBound <= address && $0.isFile }
  }
}

/// A device as stat(2) numbers it (makedev(3)).
func deviceNumber(_ major: UInt64, _ minor: UInt64) -> UInt64 {
  (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
}
