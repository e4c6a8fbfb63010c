import CDw
import Diagnostics

/// Adding sections that are not loaded, and taking away those of an earlier time.
///
/// The file is written by libelf. What is to be written is computed here: libelf can neither remove a section nor keep the
/// bytes that no section covers (what the linker puts between segments), and reading stays with our own bounded reader,
/// because a file can be hostile and a process's memory goes through the same types.
extension ELFFile {
  public struct NewSection: Sendable {
    public let name: String
    public let contents: [UInt8]
    public init(_ name: String, _ contents: [UInt8]) {
      self.name = name
      self.contents = contents
    }
  }

  /// Replaces the file by one with `new` sections (PROGBITS, not allocated, alignment 1) instead of all sections whose
  /// names are in `names`. Loaded segments, their addresses and the build ID are untouched, and so is the order of the
  /// other sections. The same input gives the same bytes, also when it already went through this function; then nothing is
  /// written and the result is false.
  ///
  /// Throws `elf.malformed`, `file.unwritable`, `file.changed`; the old file is left then.
  public func replaceSections(_ names: [String], with new: [NewSection]) throws(CodedError) -> Bool {
    let plan = try SectionPlan(self, removing: names, adding: new)
    return try bytes.replace { (descriptor) throws(CodedError) in
      try plan.write(to: descriptor)
      try plan.verify(FileBytes.copy(of: descriptor, path: bytes.path))
    }
  }

  /// The number of the section with the names; 0 when there is none.
  func nameSectionIndex() throws(CodedError) -> Int {
    guard header.nameSection == Int(SHN_XINDEX) else { return header.nameSection }
    return Int(try ELFFile.firstSection(bytes, header)?.link ?? 0)
  }
}

/// What a file with other sections will consist of.
private struct SectionPlan {
  private let file: ELFFile
  private let all: [SectionHeader]
  private let isKept: [Bool]
  /// New numbers. Sections behind a removed one move up.
  private let number: [Int]
  private let nameIndex: Int
  private var header = Elf64_Ehdr()
  /// Headers without section 0. Kept sections first, but for the names' place in the file: that is behind the new ones.
  private var headers: [Elf64_Shdr] = []
  private let new: [ELFFile.NewSection]
  /// The file up to the section table. What is kept is where it was.
  private var image: [UInt8]

  init(_ file: ELFFile, removing names: [String], adding new: [ELFFile.NewSection]) throws(CodedError) {
    self.file = file
    self.new = new
    all = try file.sections()
    nameIndex = try file.nameSectionIndex()
    guard all.count > 1, all.count + new.count <= SectionHeader.limit, nameIndex > 0, nameIndex < all.count else {
      throw file.bytes.malformed("its section table cannot take more sections")
    }
    let isKept = all.map { $0.index == 0 || !names.contains($0.name) }
    guard isKept[nameIndex] else { throw file.bytes.malformed("its section names are in a section of the patch") }
    self.isKept = isKept
    var number: [Int] = []
    for section in all { number.append((number.last ?? -1) + (isKept[section.index] ? 1 : 0)) }
    self.number = number
    image = []
    let end = try contentEnd()
    image = try file.bytes.read(0, count: end)
    for section in all where !isKept[section.index] && section.occupiesFile { clear(section) }
    try renumberSymbols()
    try addSections(new)
    image.withUnsafeBytes { header = $0.loadUnaligned(as: Elf64_Ehdr.self) }
    header.e_shoff = UInt64((image.count + 7) & ~7)
  }

  private mutating func addSections(_ new: [ELFFile.NewSection]) throws(CodedError) {
    var strings = try keptNames()
    for section in all where isKept[section.index] && section.index != 0 { headers.append(try kept(section)) }
    for section in new {
      headers.append(added(section, name: strings.count))
      strings += Array(section.name.utf8) + [0]
      image += section.contents
    }
    headers[number[nameIndex] - 1].sh_offset = UInt64(image.count)
    headers[number[nameIndex] - 1].sh_size = UInt64(strings.count)
    image += strings
  }

  private func added(_ section: ELFFile.NewSection, name: Int) -> Elf64_Shdr {
    Elf64_Shdr(
      sh_name: UInt32(name), sh_type: UInt32(SHT_PROGBITS), sh_flags: 0, sh_addr: 0, sh_offset: UInt64(image.count),
      sh_size: UInt64(section.contents.count), sh_link: 0, sh_info: 0, sh_addralign: 1, sh_entsize: 0)
  }

  /// End of everything that stays in place: headers, segments, and kept sections except the section names.
  private func contentEnd() throws(CodedError) -> Int {
    let bytes = file.bytes
    var end = UInt64(ELFHeader.size)
    var total: UInt64 = 0
    func include(_ offset: UInt64, _ size: UInt64) throws(CodedError) {
      let (stop, overflow) = offset.addingReportingOverflow(size)
      guard !overflow, stop <= UInt64(bytes.size) else { throw bytes.malformed("a section or segment leaves the file") }
      end = max(end, stop)
      total += size
    }
    try include(file.header.programHeaderOffset, UInt64(file.programHeaders.count * ProgramHeader.size))
    for segment in file.programHeaders where segment.fileSize > 0 { try include(segment.offset, segment.fileSize) }
    total = 0
    for section in all where section.index != nameIndex && isKept[section.index] && section.occupiesFile {
      try include(section.offset, section.size)
    }
    // Sections that share their bytes are written several times.
    guard total <= UInt64(bytes.size) * 4 else { throw bytes.malformed("its sections overlap") }
    return Int(end)
  }

  /// Zeros what a removed section leaves in the middle of the file, unless a segment maps it or another section has it.
  private mutating func clear(_ section: SectionHeader) {
    let (end, overflow) = section.offset.addingReportingOverflow(section.size)
    guard !overflow, end <= UInt64(image.count), section.size > 0, !section.isAllocated else { return }
    let isMapped = file.programHeaders.contains { $0.isLoad && $0.offset < end && section.offset < $0.offset &+ $0.fileSize }
    let isShared = all.contains {
      isKept[$0.index] && $0.occupiesFile && $0.offset < end && section.offset < $0.offset &+ $0.size
    }
    if !isMapped && !isShared { for index in Int(section.offset)..<Int(end) { image[index] = 0 } }
  }

  /// The section names without those at the end that only removed sections use, so that packing again does not grow them.
  private func keptNames() throws(CodedError) -> [UInt8] {
    var strings = try file.contents(of: all[nameIndex])
    var offsets: [Int] = []
    for section in all { offsets.append(try nameOffset(of: section)) }
    if strings.last != 0 { strings.append(0) }
    let lastKept = all.filter { isKept[$0.index] }.map { offsets[$0.index] }.max() ?? 0
    guard let cut = all.filter({ !isKept[$0.index] }).map({ offsets[$0.index] }).min(), cut > lastKept, cut < strings.count
    else {
      return strings
    }
    // A symbol table may share this string table: then its strings can lie behind the names.
    let isShared = all.contains { $0.link == UInt32(nameIndex) && $0.index != 0 }
    return isShared ? strings : Array(strings[..<cut])
  }

  private func nameOffset(of section: SectionHeader) throws(CodedError) -> Int {
    let place = file.header.sectionHeaderOffset + UInt64(section.index * SectionHeader.size)
    return Int(try file.bytes.read(place, count: 4).integer(at: 0, as: UInt32.self) ?? 0)
  }

  /// A kept section's header with the numbers of other sections in it brought up to date.
  private func kept(_ section: SectionHeader) throws(CodedError) -> Elf64_Shdr {
    func renumbered(_ old: UInt32) throws(CodedError) -> UInt32 {
      guard Int(old) < number.count, isKept[Int(old)] else {
        throw file.bytes.malformed("section \(printable(section.name)) needs a removed one")
      }
      return UInt32(number[Int(old)])
    }
    let infoIsSection =
      section.type == UInt32(SHT_REL) || section.type == UInt32(SHT_RELA) || section.flags & UInt64(SHF_INFO_LINK) != 0
    let info = section.info != 0 && infoIsSection ? try renumbered(section.info) : section.info
    return Elf64_Shdr(
      sh_name: UInt32(try nameOffset(of: section)), sh_type: section.type, sh_flags: section.flags, sh_addr: section.address,
      sh_offset: section.offset, sh_size: section.size, sh_link: section.link == 0 ? 0 : try renumbered(section.link),
      sh_info: info, sh_addralign: section.alignment, sh_entsize: section.entrySize)
  }

  /// Symbols name their section by number: in 16 bits, or in a table beside them for sections from 0xff00 on.
  private mutating func renumberSymbols() throws(CodedError) {
    guard isKept.contains(false) else { return }
    for table in all where isKept[table.index] && table.occupiesFile && table.size <= UInt64(image.count) {
      let start = Int(table.offset)
      let end = Int(table.offset + table.size)
      if table.type == UInt32(SHT_SYMTAB) || table.type == UInt32(SHT_DYNSYM) {
        for place in stride(from: start + 6, to: end - 17, by: SymbolTable.entrySize) {
          let old = Int(image.integer(at: place, as: UInt16.self) ?? 0)
          guard old < number.count, old < Int(SHN_LORESERVE), number[old] != old else { continue }
          // The symbol of a removed section itself becomes absolute: nothing can refer to it.
          image.replace(at: place, isKept[old] ? UInt16(number[old]) : UInt16(SHN_ABS))
        }
      } else if table.type == UInt32(SHT_SYMTAB_SHNDX) {
        for place in stride(from: start, to: end - 3, by: 4) {
          let old = Int(image.integer(at: place, as: UInt32.self) ?? 0)
          if old < number.count, number[old] != old { image.replace(at: place, UInt32(number[old])) }
        }
      }
    }
  }

  // MARK: writing

  /// Bytes that belong to nothing libelf knows: between headers, sections and segments.
  private func uncovered() -> [Range<Int>] {
    var covered = headers.filter { $0.sh_type != UInt32(SHT_NOBITS) && $0.sh_type != UInt32(SHT_NULL) && $0.sh_size > 0 }
      .map { Int($0.sh_offset)..<Int($0.sh_offset + $0.sh_size) }
    covered.append(0..<ELFHeader.size)
    let table = Int(file.header.programHeaderOffset)
    if !file.programHeaders.isEmpty { covered.append(table..<table + file.programHeaders.count * ProgramHeader.size) }
    var gaps: [Range<Int>] = []
    var position = 0
    for range in covered.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound > position { gaps.append(position..<range.lowerBound) }
      position = max(position, range.upperBound)
    }
    if position < image.count { gaps.append(position..<image.count) }
    return gaps
  }

  func write(to descriptor: Int32) throws(CodedError) {
    let segments = file.programHeaders.map { segment in
      Elf64_Phdr(
        p_type: segment.type, p_flags: segment.flags, p_offset: segment.offset, p_vaddr: segment.address,
        p_paddr: segment.physicalAddress, p_filesz: segment.fileSize, p_memsz: segment.memorySize, p_align: segment.alignment)
    }
    // The pointers are libelf's until ul_elf_write returns, and no longer. All lie inside the image: contentEnd has
    // checked what is kept, addSections has appended the rest.
    let reason = image.withUnsafeBytes { image -> UnsafePointer<CChar>? in
      let sections = headers.map { header in
        let isStored = header.sh_type != UInt32(SHT_NOBITS) && header.sh_type != UInt32(SHT_NULL) && header.sh_size > 0
        return ul_section(header: header, contents: isStored ? image.baseAddress! + Int(header.sh_offset) : nil)
      }
      var header = header
      return ul_elf_write(descriptor, &header, segments, segments.count, sections, sections.count, number[nameIndex])
    }
    if let reason {
      throw CodedError(
        .fileUnwritable, "cannot write \(printable(file.path)): \(String(cString: reason))", data: ["path": .text(file.path)])
    }
    for gap in uncovered() where image[gap].contains(where: { $0 != 0 }) {
      try FileWriting.write(image[gap], to: descriptor, at: gap.lowerBound, path: file.path)
    }
  }

  /// Reads what was written, and compares: whatever goes wrong in between must not replace a good file.
  func verify(_ written: FileBytes) throws(CodedError) {
    let result = try ELFFile(written)
    let sections = try result.sections()
    guard result.programHeaders == file.programHeaders, sections.count == headers.count + 1 else { throw differs("headers") }
    for (section, header) in zip(sections.dropFirst(), headers) {
      guard section.offset == header.sh_offset, section.size == header.sh_size, section.type == header.sh_type else {
        throw differs(section.name)
      }
    }
    for section in new {
      guard let found = try result.section(named: section.name), try result.contents(of: found) == section.contents else {
        throw differs(section.name)
      }
    }
    // Only the ELF header's view of the section table may differ: e_shoff, e_shnum, e_shstrndx.
    let found = try written.read(64, count: image.count - 64)
    guard found[...] == image[64...], try written.read(0, count: 40)[...] == image[..<40] else { throw differs("contents") }
  }

  /// libelf mends some contradictions of a file, and so would change more than it was asked to.
  private func differs(_ what: String) -> CodedError {
    file.bytes.malformed("it cannot be written anew without changing its \(printable(what))")
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
