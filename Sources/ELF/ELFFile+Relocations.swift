import CElf
import Diagnostics

/// One entry of DT_RELA or DT_JMPREL (x86-64 psABI, "Relocation").
public struct Relocation: Sendable, Equatable {
  /// The corresponding C constants are R_X86_64_64, _GLOB_DAT, _JUMP_SLOT, _RELATIVE and _IRELATIVE.
  public enum Kind: Sendable { case absolute, globalData, jumpSlot, relative, indirectRelative, other }

  /// Link address of the word that the loader writes.
  public let place: UInt64
  public let kind: Kind
  /// Index into the dynamic symbols, 0 when there is none.
  public let symbol: Int
  public let addend: UInt64
}

extension Relocation {
  /// A table of Elf64_Rela; a part of an entry behind the last whole one is ignored.
  static func parse(_ table: [UInt8]) -> [Relocation] {
    (0..<table.count / 24).map { index in
      let info: UInt64 = table.integer(at: index * 24 + 8) ?? 0
      return Relocation(
        place: table.integer(at: index * 24) ?? 0, kind: kind(info & 0xffff_ffff), symbol: Int(info >> 32),
        addend: table.integer(at: index * 24 + 16) ?? 0)
    }
  }

  private static func kind(_ type: UInt64) -> Relocation.Kind {
    switch Int32(truncatingIfNeeded: type) {
    case R_X86_64_64: .absolute
    case R_X86_64_GLOB_DAT: .globalData
    case R_X86_64_JUMP_SLOT: .jumpSlot
    case R_X86_64_RELATIVE: .relative
    case R_X86_64_IRELATIVE: .indirectRelative
    default: .other
    }
  }
}

extension ELFFile {
  /// What the loader writes into the object, but for DT_RELR, whose addends are in place.
  public func relocations() throws(CodedError) -> [Relocation] {
    guard let dynamic = try dynamicSection() else { return [] }
    var found: [Relocation] = []
    for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
      guard let place = dynamic.value(table), let size = dynamic.value(size) else { continue }
      guard size <= UInt64(bytes.size) else { throw bytes.malformed("its relocations are longer than the file") }
      let entries = try read(at: LinkAddress(place), count: Int(size))
      found += Relocation.parse(entries)
    }
    return found
  }

  /// The words of DT_RELR: places where the loader adds the load bias to what is there.
  public func hasPackedRelocations() throws(CodedError) -> Bool { try dynamicSection()?.value(36) != nil }  // DT_RELR
}
