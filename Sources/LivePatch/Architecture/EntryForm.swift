import Diagnostics

/// What the bytes around a function's entry are (x86-64), decided from the bytes alone.
///
/// A prepared function has at least 14 bytes of nops before its entry and 2 at it (`-fpatchable-function-entry=16,14` or
/// more), behind an `endbr64` where the compiler wrote one. The *point* is where the two bytes are:
///
///     entry-14        ff 25 00 00 00 00 <address>     jmp *0(%rip)   the padding, once written
///     point           eb f0 (eb ec after endbr64)     jmp entry-14   once armed; before that 90 90 or 66 90
enum EntryForm: Equatable {
  /// Pristine or disarmed. `mergesNops`: the point holds two one-byte nops, between which a thread may stand.
  case prepared(pointOffset: UInt32, mergesNops: Bool, paddingIsWritten: Bool)
  /// The point jumps to the padding and the padding to `target`.
  case armed(pointOffset: UInt32, target: UInt64)
  /// No patchable entry.
  case notPrepared
  /// There is a patchable entry, and somebody else's bytes are in it.
  case modified

  /// Bytes before the entry that belong to a detour, and bytes at the entry that are looked at.
  static let padding = 14
  static let before = 32
  static let after = 8
  /// From the first byte of the padding to the last of the point, with an `endbr64` between them.
  static let extent = padding + 6
  static let jumpSlot: [UInt8] = [0xff, 0x25, 0, 0, 0, 0]
  static let endbr64: [UInt8] = [0xf3, 0x0f, 0x1e, 0xfa]
  static let mergedNop: UInt8 = 0x66

  /// - Parameter bytes: `before` bytes before the entry and `after` bytes from it on.
  init(_ bytes: [UInt8]) {
    precondition(bytes.count == EntryForm.before + EntryForm.after)
    let entry = EntryForm.before
    let offset = Array(bytes[entry..<entry + 4]) == EntryForm.endbr64 ? 4 : 0
    let point = entry + offset
    let slot = Array(bytes[entry - 14..<entry - 8])
    let target = bytes[entry - 8..<entry].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let pointOffset = UInt32(offset)
    let isWritten = slot == EntryForm.jumpSlot
    if Array(bytes[point..<point + 2]) == EntryForm.jump(pointOffset: pointOffset) {
      self = isWritten ? .armed(pointOffset: pointOffset, target: target) : .notPrepared
      return
    }
    let isNop = bytes[point + 1] == 0x90 && (bytes[point] == 0x90 || bytes[point] == EntryForm.mergedNop)
    let hasPadding = isWritten || EntryForm.endsInNops(Array(bytes[..<entry]))
    switch (isNop, hasPadding) {
    case (true, true):
      self = .prepared(pointOffset: pointOffset, mergesNops: bytes[point] == 0x90, paddingIsWritten: isWritten)
    case (false, true) where EntryForm.hasLongNopRun(Array(bytes[..<entry])): self = .modified
    default: self = .notPrepared
    }
  }

  /// The two bytes of an armed point: a short jump back to entry - 14.
  static func jump(pointOffset: UInt32) -> [UInt8] { [0xeb, UInt8(truncatingIfNeeded: -16 - Int32(pointOffset))] }
  static let disarmed: [UInt8] = [0x66, 0x90]

  static func paddingBytes(target: UInt64) -> [UInt8] {
    jumpSlot + withUnsafeBytes(of: target.littleEndian) { [UInt8]($0) }
  }

  /// Whether the last 14 bytes are wholly covered by nops, in any encoding the compilers use.
  static func endsInNops(_ bytes: [UInt8]) -> Bool {
    // reachable[i]: a run of nops starts somewhere at or before count-14 and has an instruction boundary at i.
    let first = bytes.count - padding
    for start in stride(from: first, through: max(0, first - 8), by: -1) where runOfNops(bytes, from: start) { return true }
    return false
  }

  private static func runOfNops(_ bytes: [UInt8], from start: Int) -> Bool {
    var position = start
    while position < bytes.count {
      guard let length = nopLength(bytes, at: position) else { return false }
      position += length
    }
    return position == bytes.count
  }

  /// One-byte nops only: what `-fpatchable-function-entry` emits. Alignment between ordinary functions uses longer ones, so
  /// only this run proves that a changed entry once was a patchable one.
  private static func hasLongNopRun(_ bytes: [UInt8]) -> Bool { bytes.suffix(padding).allSatisfy { $0 == 0x90 } }

  /// Length of the nop at a position (Intel SDM, NOP: recommended multi-byte sequences), nil when it is none.
  static func nopLength(_ bytes: [UInt8], at position: Int) -> Int? {
    var cursor = position
    while cursor < bytes.count && bytes[cursor] == 0x66 && cursor - position < 6 { cursor += 1 }
    guard cursor < bytes.count else { return nil }
    if bytes[cursor] == 0x90 { return cursor - position + 1 }
    if bytes[cursor] == 0x2e { cursor += 1 }  // cs prefix of the long alignment nops
    guard cursor + 2 < bytes.count, bytes[cursor] == 0x0f, bytes[cursor + 1] == 0x1f else { return nil }
    let modrm = bytes[cursor + 2]
    guard modrm & 0x38 == 0 else { return nil }
    let hasIndex = modrm & 7 == 4 && modrm >> 6 != 3
    let displacement = modrm >> 6 == 1 ? 1 : modrm >> 6 == 2 ? 4 : 0
    let length = cursor - position + 3 + (hasIndex ? 1 : 0) + displacement
    return position + length <= bytes.count ? length : nil
  }
}

/// Whether the two bytes at an address lie on different pages: then they cannot be written in one step.
func crossesPage(_ address: UInt64, count: UInt64) -> Bool { address / 4096 != (address + count - 1) / 4096 }
