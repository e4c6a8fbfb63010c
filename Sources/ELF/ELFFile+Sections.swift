import CElf
import Diagnostics

/// The file as the loader maps it, at bias 0 and before relocation.
struct SegmentMemory: MemoryReading {
  let bytes: FileBytes
  let programHeaders: [ProgramHeader]

  func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    guard count > 0 else { return [] }
    for header in programHeaders where header.isLoad && address >= header.address {
      let skipped = address - header.address
      guard skipped < header.memorySize, UInt64(count) <= header.memorySize - skipped else { continue }
      let stored = header.fileSize > skipped ? min(UInt64(count), header.fileSize - skipped) : 0
      let (offset, overflow) = header.offset.addingReportingOverflow(skipped)
      guard !overflow else { break }
      var content = try bytes.read(offset, count: Int(stored))
      // Zeros are bounded too: only a claim within reason is believed, because memory size is not limited by the file's.
      guard count - content.count <= LoadedView.stringLimit else { break }
      content.append(contentsOf: repeatElement(0, count: count - content.count))
      return content
    }
    throw bytes.malformed("\(count) bytes at address \(hexadecimal(address)) are in no loaded segment")
  }
}

extension ELFFile {
  /// Section 0, which holds numbers that do not fit the header; nil when there is no section table.
  static func firstSection(_ bytes: FileBytes, _ header: ELFHeader) throws(CodedError) -> SectionHeader? {
    guard header.sectionHeaderOffset != 0 else { return nil }
    return SectionHeader(try bytes.read(header.sectionHeaderOffset, count: SectionHeader.size), index: 0, names: [])
  }

  func readSections() throws(CodedError) -> [SectionHeader] {
    guard let first = try ELFFile.firstSection(bytes, header) else { return [] }
    let count = header.sectionHeaderCount == 0 ? Int(clamping: first.size) : header.sectionHeaderCount
    guard count <= SectionHeader.limit else { throw bytes.malformed("it claims \(count) sections") }
    let table = try bytes.read(header.sectionHeaderOffset, count: count * SectionHeader.size)
    let nameIndex = header.nameSection == 0xffff ? Int(first.link) : header.nameSection
    var names: [UInt8] = []
    if nameIndex != 0 {
      guard nameIndex < count, let section = SectionHeader(table, index: nameIndex, names: []) else {
        throw bytes.malformed("its section names are missing")
      }
      names = try contents(of: section)
    }
    return (0..<count).compactMap { SectionHeader(table, index: $0, names: names) }
  }
}

extension SectionHeader {
  init?(_ table: [UInt8], index: Int, names: [UInt8]) {
    let base = index * SectionHeader.size
    guard let entrySize: UInt64 = table.integer(at: base + 56) else { return nil }
    self.index = index
    self.entrySize = entrySize
    name = names.string(at: Int(table.integer(at: base, as: UInt32.self) ?? 0), limit: 256) ?? ""
    type = table.integer(at: base + 4) ?? 0
    flags = table.integer(at: base + 8) ?? 0
    address = table.integer(at: base + 16) ?? 0
    offset = table.integer(at: base + 24) ?? 0
    size = table.integer(at: base + 32) ?? 0
    link = table.integer(at: base + 40) ?? 0
    info = table.integer(at: base + 44) ?? 0
    alignment = table.integer(at: base + 48) ?? 0
  }
}
