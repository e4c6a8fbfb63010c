/// An address as the linker wrote it: a symbol's value, a section's `sh_addr`, a relocation's place.
public struct LinkAddress: RawRepresentable, Hashable, Comparable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  public init(_ value: UInt64) { rawValue = value }
  public static func < (left: LinkAddress, right: LinkAddress) -> Bool { left.rawValue < right.rawValue }
}

/// What the loader added to every link address of one object: `l_addr` of its link map.
public struct LoadBias: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  public init(_ value: UInt64) { rawValue = value }
}

/// An address in another process. Never held in a Swift pointer.
public struct RemoteAddress: RawRepresentable, Hashable, Comparable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  public init(_ value: UInt64) { rawValue = value }
  public static func < (left: RemoteAddress, right: RemoteAddress) -> Bool { left.rawValue < right.rawValue }
}

/// Wraps, as the loader's own addition does: a bias of a prelinked object may be "negative".
public func + (left: LinkAddress, right: LoadBias) -> RemoteAddress { RemoteAddress(left.rawValue &+ right.rawValue) }
public func - (left: RemoteAddress, right: LoadBias) -> LinkAddress { LinkAddress(left.rawValue &- right.rawValue) }

/// `0x` and lower-case hexadecimal digits.
public func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// Two hexadecimal digits for each byte, in memory order.
public func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  var text: [UInt8] = []
  for byte in bytes {
    for digit in [byte >> 4, byte & 15] { text.append(digit < 10 ? 0x30 + digit : 0x57 + digit) }
  }
  return String(decoding: text, as: UTF8.self)
}
