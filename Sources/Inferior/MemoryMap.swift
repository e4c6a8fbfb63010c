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
  /// Why nothing could be read, unless the process has gone: a map that is empty for want of descriptors says nothing.
  public let failure: CodedError?

  /// Reads /proc/PID/maps; empty when the process has gone, or for what `failure` says.
  public init(of pid: pid_t) {
    do throws(CodedError) {
      self.init(text: try ProcFile.read("/proc/\(pid)/maps", of: pid, to: "read the mappings of", limit: 16 << 20))
    } catch {
      self.init(text: [], failure: error.code == .processGone ? nil : error)
    }
  }

  init(text: [UInt8], failure: CodedError? = nil) {
    self.failure = failure
    var mappings: [Mapping] = []
    mappings.reserveCapacity(64)
    var line = MapLine(text)
    while line.next() {
      // The lines of one file follow one another: they share one string.
      if let mapping = line.mapping(after: mappings.last) { mappings.append(mapping) }
    }
    self.mappings = mappings
  }

  /// The mapping that contains an address.
  public func mapping(containing address: UInt64) -> Mapping? { index(containing: address).map { mappings[$0] } }

  private func index(containing address: UInt64) -> Int? {
    var low = 0
    var high = mappings.count
    while low < high {
      let middle = (low + high) / 2
      if mappings[middle].range.upperBound <= address { low = middle + 1 } else { high = middle }
    }
    return low < mappings.count && mappings[low].range.contains(address) ? low : nil
  }

  /// The mappings with code, as `CodeMapping.list` tells them.
  var code: [CodeMapping] {
    mappings.lazy.filter { $0.isExecutable && $0.range.lowerBound < 1 << 63 }.map {
      CodeMapping(range: $0.range, offset: $0.offset, device: $0.device, inode: $0.inode)
    }
  }

  /// The first mapping of the file image that `address` belongs to: the nearest one below with file offset 0 and the same
  /// inode. Several copies of a library (dlmopen) are told apart by nearness.
  public func imageBase(containing address: UInt64) -> UInt64? {
    guard var index = index(containing: address) else { return nil }
    let home = index
    // .bss and relocated pages may be anonymous; the file lies right below.
    while !mappings[index].isFile {
      guard index > 0 else { return nil }
      index -= 1
    }
    let (inode, device) = (mappings[index].inode, mappings[index].device)
    index = home
    while mappings[index].offset != 0 || mappings[index].inode != inode || mappings[index].device != device {
      guard index > 0 else { return nil }
      index -= 1
    }
    return mappings[index].range.lowerBound
  }
}

/// A device as stat(2) numbers it (makedev(3)).
func deviceNumber(_ major: UInt64, _ minor: UInt64) -> UInt64 {
  (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
}

/// The lines of /proc/PID/maps, one after the other: `start-end perms offset major:minor inode   path`. By hand, because
/// every operation reads it several times.
private struct MapLine {
  private let text: [UInt8]
  private var position = 0
  private var end = 0
  private var following = 0

  init(_ text: [UInt8]) { self.text = text }

  mutating func next() -> Bool {
    position = following
    guard position < text.count else { return false }
    end = position
    while end < text.count && text[end] != 0x0a { end += 1 }
    following = end + 1
    return true
  }

  private mutating func skip(_ byte: UInt8) -> Bool {
    guard position < end, text[position] == byte else { return false }
    position += 1
    return true
  }

  private mutating func number(radix: UInt64) -> UInt64? {
    var value: UInt64 = 0
    let start = position
    while position < end {
      let byte = text[position]
      let digit: UInt64
      switch byte {
      case 0x30...0x39: digit = UInt64(byte - 0x30)
      case 0x61...0x66 where radix == 16: digit = UInt64(byte - 0x61 + 10)
      default: return position > start ? value : nil
      }
      let (product, overflow) = value.multipliedReportingOverflow(by: radix)
      let (sum, carry) = product.addingReportingOverflow(digit)
      if overflow || carry { return nil }
      value = sum
      position += 1
    }
    return position > start ? value : nil
  }

  private mutating func skipBlanks() {
    while position < end && text[position] == 0x20 { position += 1 }
  }

  /// Nil for a line that is none. `previous` may have the same path.
  mutating func mapping(after previous: Mapping?) -> Mapping? {
    guard let first = number(radix: 16), skip(0x2d), let last = number(radix: 16), first < last, skip(0x20), position + 4 < end else { return nil }
    let flags = position
    position += 4
    guard skip(0x20), let offset = number(radix: 16), skip(0x20), let major = number(radix: 16), skip(0x3a), let minor = number(radix: 16),
      skip(0x20), let inode = number(radix: 10)
    else { return nil }
    skipBlanks()
    return Mapping(
      range: first..<last, isReadable: text[flags] == 0x72, isWritable: text[flags + 1] == 0x77, isExecutable: text[flags + 2] == 0x78,
      isShared: text[flags + 3] == 0x73, offset: offset, device: deviceNumber(major, minor), inode: inode, path: path(previous))
  }

  private func path(_ previous: Mapping?) -> String {
    if position == end { return "" }
    if let path = previous?.path, path.utf8.elementsEqual(text[position..<end]) { return path }
    return String(decoding: text[position..<end], as: UTF8.self)
  }
}
