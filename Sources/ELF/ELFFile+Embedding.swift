import CElf
import Diagnostics

/// Adding sections that are not loaded.
///
/// Done by hand and not with libelf: libelf cannot remove a section, and when it keeps a layout it fills with zeros what no
/// section covers. Here every byte up to the end of what is kept stays where it is; what is new goes behind it.
extension ELFFile {
  public struct NewSection: Sendable {
    public let name: String
    public let contents: [UInt8]
    public init(_ name: String, _ contents: [UInt8]) {
      self.name = name
      self.contents = contents
    }
  }

  /// The file's bytes with `new` sections (PROGBITS, not allocated, alignment 1) instead of all sections whose names are
  /// in `names`. Loaded segments, their addresses and the build ID are untouched, and so is the order of the other
  /// sections. The same input gives the same bytes, also when it already went through this function.
  public func image(replacing names: [String], with new: [NewSection]) throws(CodedError) -> [UInt8] {
    let all = try sections()
    let nameIndex = header.nameSection
    guard all.count > 1, all.count + new.count < Int(SHN_LORESERVE), nameIndex > 0, nameIndex < all.count else {
      throw bytes.malformed("its section table cannot take more sections")
    }
    let isKept = all.map { $0.index == 0 || !names.contains($0.name) }
    guard isKept[nameIndex] else { throw bytes.malformed("its section names are in a section of the patch") }
    var image = try bytes.readAll()
    let end = try contentEnd(all, isKept: isKept, nameIndex: nameIndex)
    image = Array(image[..<end])
    for section in all where !isKept[section.index] && section.occupiesFile { clear(section, in: &image) }

    // Renumbering: sections behind a removed one move up.
    var number: [Int] = []
    for section in all { number.append((number.last ?? -1) + (isKept[section.index] ? 1 : 0)) }
    try renumberSymbols(in: &image, all, isKept: isKept, number: number)

    var strings = keptNames(try contents(of: all[nameIndex]), all, isKept: isKept)
    var table: [UInt8] = []
    for section in all where isKept[section.index] && section.index != nameIndex {
      table += try headerBytes(section, number: number, isKept: isKept)
    }
    // The name section keeps its number, but its place is behind the new sections' contents.
    let nameHeaderPlace = number[nameIndex] * SectionHeader.size
    table.insert(contentsOf: repeatElement(0, count: SectionHeader.size), at: nameHeaderPlace)
    for section in new {
      table += sectionHeader(name: strings.count, type: UInt32(SHT_PROGBITS), offset: image.count, size: section.contents.count)
      strings += Array(section.name.utf8) + [0]
      image += section.contents
    }
    let old = all[nameIndex]
    let oldName = try nameOffset(of: old)
    table.replaceSubrange(
      nameHeaderPlace..<nameHeaderPlace + SectionHeader.size,
      with: sectionHeader(name: oldName, type: old.type, offset: image.count, size: strings.count))
    image += strings
    while image.count % 8 != 0 { image.append(0) }
    let tablePlace = image.count
    image += table
    image.replace(at: 40, UInt64(tablePlace))
    image.replace(at: 58, UInt16(SectionHeader.size))
    image.replace(at: 60, UInt16(table.count / SectionHeader.size))
    image.replace(at: 62, UInt16(number[nameIndex]))
    return image
  }

  /// End of everything that stays in place: headers, segments, and kept sections except the section names.
  private func contentEnd(_ all: [SectionHeader], isKept: [Bool], nameIndex: Int) throws(CodedError) -> Int {
    var end = UInt64(ELFHeader.size)
    func include(_ offset: UInt64, _ size: UInt64) throws(CodedError) {
      let (stop, overflow) = offset.addingReportingOverflow(size)
      guard !overflow, stop <= UInt64(bytes.size) else { throw bytes.malformed("a section or segment leaves the file") }
      end = max(end, stop)
    }
    try include(header.programHeaderOffset, UInt64(programHeaders.count * ProgramHeader.size))
    for segment in programHeaders where segment.fileSize > 0 { try include(segment.offset, segment.fileSize) }
    for section in all where section.index != nameIndex && isKept[section.index] && section.occupiesFile {
      try include(section.offset, section.size)
    }
    return Int(end)
  }

  /// Zeros what a removed section leaves in the middle of the file, unless a segment maps it.
  private func clear(_ section: SectionHeader, in image: inout [UInt8]) {
    let (end, overflow) = section.offset.addingReportingOverflow(section.size)
    guard !overflow, end <= UInt64(image.count), !section.isAllocated else { return }
    let isShared = programHeaders.contains { $0.isLoad && $0.offset < end && section.offset < $0.offset &+ $0.fileSize }
    if !isShared { for index in Int(section.offset)..<Int(end) { image[index] = 0 } }
  }

  /// The section names without those at the end that only removed sections use, so that packing again does not grow them.
  private func keptNames(_ strings: [UInt8], _ all: [SectionHeader], isKept: [Bool]) -> [UInt8] {
    let offsets = all.map { (try? nameOffset(of: $0)) ?? 0 }
    var strings = strings
    if strings.last != 0 { strings.append(0) }
    let lastKept = all.filter { isKept[$0.index] }.map { offsets[$0.index] }.max() ?? 0
    guard let cut = all.filter({ !isKept[$0.index] }).map({ offsets[$0.index] }).min(), cut > lastKept, cut < strings.count
    else {
      return strings
    }
    // A symbol table may share this string table: then its strings can lie behind the names.
    let isShared = all.contains { $0.link == UInt32(header.nameSection) && $0.index != 0 }
    return isShared ? strings : Array(strings[..<cut])
  }

  private func nameOffset(of section: SectionHeader) throws(CodedError) -> Int {
    let place = header.sectionHeaderOffset + UInt64(section.index * SectionHeader.size)
    return Int(try bytes.read(place, count: 4).integer(at: 0, as: UInt32.self) ?? 0)
  }

  /// A kept section's header with the numbers of other sections in it brought up to date.
  private func headerBytes(_ section: SectionHeader, number: [Int], isKept: [Bool]) throws(CodedError) -> [UInt8] {
    var raw = try bytes.read(header.sectionHeaderOffset + UInt64(section.index * SectionHeader.size), count: SectionHeader.size)
    func renumbered(_ old: UInt32) throws(CodedError) -> UInt32 {
      guard Int(old) < number.count, isKept[Int(old)] else {
        throw bytes.malformed("section \(printable(section.name)) needs a removed one")
      }
      return UInt32(number[Int(old)])
    }
    if section.link != 0 { raw.replace(at: 40, try renumbered(section.link)) }
    let infoIsSection =
      section.type == UInt32(SHT_REL) || section.type == UInt32(SHT_RELA) || section.flags & UInt64(SHF_INFO_LINK) != 0
    if section.info != 0 && infoIsSection { raw.replace(at: 44, try renumbered(section.info)) }
    return raw
  }

  /// Symbols name their section by number.
  private func renumberSymbols(in image: inout [UInt8], _ all: [SectionHeader], isKept: [Bool], number: [Int])
    throws(CodedError)
  {
    guard isKept.contains(false) else { return }
    for table in all
    where isKept[table.index] && table.occupiesFile && (table.type == UInt32(SHT_SYMTAB) || table.type == UInt32(SHT_DYNSYM)) {
      for place in stride(from: Int(table.offset) + 6, to: Int(table.offset + table.size) - 17, by: SymbolTable.entrySize) {
        let old = Int(image.integer(at: place, as: UInt16.self) ?? 0)
        guard old < number.count, number[old] != old else { continue }
        // The symbol of a removed section itself becomes absolute: nothing can refer to it.
        image.replace(at: place, isKept[old] ? UInt16(number[old]) : UInt16(SHN_ABS))
      }
    }
  }

  private func sectionHeader(name: Int, type: UInt32, offset: Int, size: Int) -> [UInt8] {
    var raw: [UInt8] = []
    raw.append(integer: UInt32(name))
    raw.append(integer: type)
    raw.append(integer: UInt64(0))  // flags
    raw.append(integer: UInt64(0))  // address
    raw.append(integer: UInt64(offset))
    raw.append(integer: UInt64(size))
    raw.append(integer: UInt64(0))  // link, info
    raw.append(integer: UInt64(1))  // alignment
    raw.append(integer: UInt64(0))  // entry size
    return raw
  }
}

extension [UInt8] {
  /// Overwrites with a little-endian integer, which must lie inside.
  mutating func replace<Value: FixedWidthInteger>(at offset: Int, _ value: Value) {
    var raw: [UInt8] = []
    raw.append(integer: value)
    replaceSubrange(offset..<offset + raw.count, with: raw)
  }
}
