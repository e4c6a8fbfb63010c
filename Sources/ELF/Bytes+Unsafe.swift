// The fence around unaligned loads: every function compares the offset with the array's length before it touches memory,
// and nothing outside this file does pointer arithmetic on ELF data.

extension [UInt8] {
  /// The little-endian integer at `offset`, or nil when it does not lie wholly inside.
  @inlinable
  public func integer<Value: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: Value.Type = Value.self) -> Value? {
    let size = MemoryLayout<Value>.size
    guard offset >= 0, count >= size, offset <= count - size else { return nil }
    return withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
  }

  /// The offset just behind the bytes before the next NUL; nil without a NUL within `limit` bytes.
  func endOfString(at offset: Int, limit: Int) -> Int? {
    guard offset >= 0, offset < count else { return nil }
    let end = Swift.min(count, offset &+ Swift.min(limit, count))
    return withUnsafeBytes { bytes in
      var index = offset
      while index < end {
        if bytes[index] == 0 { return index }
        index += 1
      }
      return nil
    }
  }

  /// The string at `offset`, cut at `limit` bytes; nil when the offset lies outside or no NUL ends it.
  public func string(at offset: Int, limit: Int = 1 << 16) -> String? {
    guard let end = endOfString(at: offset, limit: limit) else { return nil }
    return String(decoding: self[offset..<end], as: UTF8.self)
  }

  /// Whether the string at `offset` is exactly `wanted` (without NUL). Reads at most `wanted.count + 1` bytes.
  func hasString(_ wanted: [UInt8], at offset: Int) -> Bool {
    hasBytes(wanted, at: offset) && self[offset + wanted.count] == 0
  }

  /// Whether the bytes at `offset` are these, with at least one more behind them.
  func hasBytes(_ wanted: [UInt8], at offset: Int) -> Bool {
    guard offset >= 0, offset < count, wanted.count < count - offset else { return false }
    return withUnsafeBytes { bytes in
      for index in 0..<wanted.count where bytes[offset + index] != wanted[index] { return false }
      return true
    }
  }

  /// A hash over at most the first 64 bytes of the string at `offset`. Bounded, so that a hostile table whose symbols all
  /// share one huge name costs no more than an honest one.
  func stringHash(at offset: Int) -> UInt32 {
    guard offset >= 0, offset < count else { return 0 }
    let end = Swift.min(count, offset + 64)
    return withUnsafeBytes { bytes in
      var hash: UInt32 = 5381
      var index = offset
      while index < end, bytes[index] != 0 {
        hash = hash &* 33 &+ UInt32(bytes[index])
        index += 1
      }
      return hash
    }
  }

  /// Appends an integer, little-endian, without padding.
  public mutating func append<Value: FixedWidthInteger>(integer value: Value) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }
}
