import CElf

/// The GNU build ID of an object: 1 to 64 bytes, normally 20 (SHA-1).
public struct BuildID: Hashable, Sendable, CustomStringConvertible {
  public let bytes: [UInt8]
  public static let limit = 64

  /// Nil for a length that no build ID has.
  public init?(_ bytes: [UInt8]) {
    guard (1...BuildID.limit).contains(bytes.count) else { return nil }
    self.bytes = bytes
  }

  /// From hexadecimal digits; nil when the text is anything else.
  public init?(hexadecimal text: String) {
    let digits = text.utf8.map { digit -> UInt8? in
      switch digit {
      case 0x30...0x39: digit - 0x30
      case 0x41...0x46: digit - 0x37
      case 0x61...0x66: digit - 0x57
      default: nil
      }
    }
    guard digits.count % 2 == 0, !digits.contains(nil) else { return nil }
    self.init(stride(from: 0, to: digits.count, by: 2).map { digits[$0]! << 4 | digits[$0 + 1]! })
  }

  public var description: String { ELF.hexadecimal(bytes) }

  /// Finds the build ID among the notes of one segment or section. Notes are padded to 4 bytes, or to 8 where the
  /// segment's alignment is 8 (gABI; glibc reads them so, `elf/dl-load.c`).
  public init?(notes: [UInt8], alignment: UInt64) {
    let padding = alignment == 8 ? 8 : 4
    func padded(_ offset: Int) -> Int { (offset + padding - 1) & ~(padding - 1) }
    var position = 0
    while let nameSize: UInt32 = notes.integer(at: position), let size: UInt32 = notes.integer(at: position + 4),
      let type: UInt32 = notes.integer(at: position + 8)
    {
      // Both are 32 bits, so these sums cannot overflow 64.
      let content = padded(position + 12 + Int(nameSize))
      let end = content + Int(size)
      guard end <= notes.count else { return nil }
      if type == UInt32(NT_GNU_BUILD_ID), nameSize == 4, notes[position + 12..<position + 16] == [0x47, 0x4e, 0x55, 0] {
        self.init(Array(notes[content..<end]))
        return
      }
      position = padded(end)
    }
    return nil
  }
}
