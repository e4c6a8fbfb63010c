import Diagnostics

/// Something with addresses that can be read: a process, a file seen the way the loader maps it, a test's array.
public protocol MemoryReading {
  /// Exactly `count` bytes from `address` on. Throws `memory.unreadable` when any of them cannot be read.
  func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8]
}

/// Memory made of byte arrays, for tests and for images that were saved earlier.
public struct MemorySnapshot: MemoryReading {
  public private(set) var regions: [(start: UInt64, bytes: [UInt8])] = []

  public init() {}
  public init(at start: UInt64, _ bytes: [UInt8]) { regions = [(start, bytes)] }

  /// Adds a region; where regions overlap, the one added first is read.
  public mutating func add(at start: UInt64, _ bytes: [UInt8]) { regions.append((start, bytes)) }

  public func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    guard count > 0 else { return [] }
    for region in regions where address >= region.start {
      let skipped = address - region.start
      guard skipped < UInt64(region.bytes.count), count <= region.bytes.count - Int(skipped) else { continue }
      return Array(region.bytes[Int(skipped)..<Int(skipped) + count])
    }
    throw CodedError(.memoryUnreadable, "no memory at \(hexadecimal(address))").with(
      "address", .integer(Int64(bitPattern: address)))
  }
}
