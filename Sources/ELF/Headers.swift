import CElf
import Diagnostics

/// What the first 64 bytes of an ELF file say (ELF specification, "ELF Header").
public struct ELFHeader: Sendable, Equatable {
  /// `e_type`: 1 relocatable, 2 executable, 3 shared object or PIE, 4 core.
  public let type: UInt16
  public let entry: UInt64
  public let programHeaderOffset: UInt64
  public let sectionHeaderOffset: UInt64
  /// As stored; 0xffff means that section 0 holds the number.
  public let programHeaderCount: Int
  /// As stored; 0 with a table means that section 0 holds the number.
  public let sectionHeaderCount: Int
  /// As stored; 0xffff means that section 0 holds the index.
  public let nameSection: Int

  public static let size = 64

  /// Throws `elf.not_elf` or `elf.unsupported`. `name` is the file's or image's name for the message.
  public init(_ bytes: [UInt8], name: @autoclosure () -> String) throws(CodedError) {
    guard bytes.count >= 4, bytes[0] == 0x7f, bytes[1] == 0x45, bytes[2] == 0x4c, bytes[3] == 0x46 else {
      throw CodedError(.elfNotELF, "\(printable(name())) is not an ELF file")
    }
    guard bytes.count >= ELFHeader.size else {
      throw CodedError(.elfMalformed, "\(printable(name())) ends inside the ELF header")
    }
    func field<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> Value { bytes.integer(at: offset) ?? 0 }
    func unsupported(_ what: String) -> CodedError { CodedError(.elfUnsupported, "\(printable(name())) is \(what)") }
    if bytes[4] != UInt8(ELFCLASS64) { throw unsupported("a 32-bit ELF file") }
    if bytes[5] != UInt8(ELFDATA2LSB) { throw unsupported("a big-endian ELF file") }
    let machine: UInt16 = field(18)
    if machine != UInt16(EM_X86_64) { throw unsupported("built for another machine (e_machine \(machine))") }
    type = field(16)
    entry = field(24)
    programHeaderOffset = field(32)
    sectionHeaderOffset = field(40)
    programHeaderCount = Int(field(56) as UInt16)
    sectionHeaderCount = Int(field(60) as UInt16)
    nameSection = Int(field(62) as UInt16)
    // Sizes of table entries are part of the class; another size means another format.
    if programHeaderCount > 0, field(54) as UInt16 != UInt16(ProgramHeader.size) {
      throw unsupported("of an unknown format (e_phentsize)")
    }
    if sectionHeaderCount > 0, field(58) as UInt16 != UInt16(SectionHeader.size) {
      throw unsupported("of an unknown format (e_shentsize)")
    }
  }
}

/// One program header: a part of the file as the loader sees it.
public struct ProgramHeader: Sendable, Equatable {
  public let type: UInt32
  public let flags: UInt32
  public let offset: UInt64
  public let address: UInt64
  /// Means nothing on Linux; kept when a file is written anew.
  let physicalAddress: UInt64
  public let fileSize: UInt64
  public let memorySize: UInt64
  public let alignment: UInt64

  public static let size = 56
  /// More program headers than this are refused. The kernel takes at most one page of them.
  public static let limit = 1024

  public var isLoad: Bool { type == UInt32(PT_LOAD) }
  public var isNote: Bool { type == UInt32(PT_NOTE) }
  public var isExecutable: Bool { flags & 1 != 0 }
  public var isWritable: Bool { flags & 2 != 0 }
  /// End in memory; nil when the header's numbers overflow.
  public var end: UInt64? {
    let (end, overflow) = address.addingReportingOverflow(memorySize)
    return overflow ? nil : end
  }

  init?(_ table: [UInt8], index: Int) {
    let base = index * ProgramHeader.size
    guard let alignment: UInt64 = table.integer(at: base + 48) else { return nil }
    self.alignment = alignment
    type = table.integer(at: base) ?? 0
    flags = table.integer(at: base + 4) ?? 0
    offset = table.integer(at: base + 8) ?? 0
    address = table.integer(at: base + 16) ?? 0
    physicalAddress = table.integer(at: base + 24) ?? 0
    fileSize = table.integer(at: base + 32) ?? 0
    memorySize = table.integer(at: base + 40) ?? 0
  }

  static func parse(_ table: [UInt8], count: Int) -> [ProgramHeader] {
    (0..<count).compactMap { ProgramHeader(table, index: $0) }
  }
}

/// One section header. `name` is cut at 256 bytes.
public struct SectionHeader: Sendable, Equatable {
  public let index: Int
  public let name: String
  public let type: UInt32
  public let flags: UInt64
  public let address: UInt64
  public let offset: UInt64
  public let size: UInt64
  public let link: UInt32
  public let info: UInt32
  public let alignment: UInt64
  public let entrySize: UInt64

  public static let size = 64
  /// More sections than this are refused.
  public static let limit = 1 << 16

  public var isAllocated: Bool { flags & UInt64(SHF_ALLOC) != 0 }
  public var occupiesFile: Bool { type != UInt32(SHT_NOBITS) && type != UInt32(SHT_NULL) }
}
