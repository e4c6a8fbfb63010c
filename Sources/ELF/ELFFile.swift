import CElf
import Diagnostics

/// An ELF file, opened once and read piece by piece as it is asked about.
///
/// Two views are offered and kept apart, because a hostile file can make them differ: what the *loader* will use (program
/// headers, dynamic section, `dynamicSymbols`, `buildID`) and what *tools* use (sections, `staticSymbols`). Checks of what a
/// process will do belong on the first.
///
/// Nothing trusts a length: each is compared with the file's size before anything is allocated. Everything that can fail on
/// a malformed file throws `elf.malformed`.
public final class ELFFile {
  public let bytes: FileBytes
  public let header: ELFHeader
  public let programHeaders: [ProgramHeader]

  public var path: String { bytes.path }
  public var identity: FileIdentity { bytes.identity }

  private var cachedSections: [SectionHeader]?
  private var cachedDynamic: DynamicSection??
  private var cachedDynamicSymbols: SymbolTable?
  private var cachedStaticSymbols: SymbolTable?
  private var cachedPatchable: PatchableEntries??
  private var cachedVersions: SymbolVersions?
  private var cachedSoname: String??
  var cachedConstructors: [Constructor]?

  /// Throws `file.unreadable`, `elf.not_elf`, `elf.unsupported`, `elf.malformed`.
  public convenience init(path: String) throws(CodedError) { try self.init(FileBytes(path: path)) }

  public init(_ bytes: FileBytes) throws(CodedError) {
    self.bytes = bytes
    // Header and program headers of every usual file lie in the first KB.
    let start = try bytes.read(0, count: min(bytes.size, 1024))
    let header = try ELFHeader(start, name: bytes.path)
    self.header = header
    var count = header.programHeaderCount
    if count == 0xffff {
      guard let first = try ELFFile.firstSection(bytes, header) else {
        throw bytes.malformed("it has no number of program headers")
      }
      count = Int(first.info)
    }
    guard count <= ProgramHeader.limit else { throw bytes.malformed("it claims \(count) program headers") }
    let size = count * ProgramHeader.size
    if header.programHeaderOffset <= UInt64(start.count), size <= start.count - Int(header.programHeaderOffset) {
      let from = Int(header.programHeaderOffset)
      programHeaders = ProgramHeader.parse(Array(start[from..<from + size]), count: count)
    } else {
      programHeaders = ProgramHeader.parse(try bytes.read(header.programHeaderOffset, count: size), count: count)
    }
  }

  // MARK: the loader's view

  var view: LoadedView {
    LoadedView(
      memory: SegmentMemory(bytes: bytes, programHeaders: programHeaders), programHeaders: programHeaders, bias: 0, name: path,
      fault: .elfMalformed)
  }

  /// Bytes as the loader maps them, before relocation: file contents of the PT_LOAD segments, zeros behind them.
  public func read(at address: LinkAddress, count: Int) throws(CodedError) -> [UInt8] {
    try view.memory.read(address.rawValue, count: count)
  }

  /// Where the byte at a link address is in the file; nil when it is in no segment (or no executable one), or not stored.
  public func fileOffset(of address: LinkAddress, executable: Bool = false) throws(CodedError) -> UInt64? {
    let value = address.rawValue
    for header in programHeaders where header.isLoad && (header.isExecutable || !executable) && value >= header.address {
      guard value - header.address < header.fileSize else { continue }
      let (offset, overflow) = header.offset.addingReportingOverflow(value - header.address)
      return overflow || offset >= UInt64(bytes.size) ? nil : offset
    }
    return nil
  }

  public func dynamicSection() throws(CodedError) -> DynamicSection? {
    if let cachedDynamic { return cachedDynamic }
    // A file of separate debug information keeps the header of its dynamic section, without the contents.
    let isPresent = programHeaders.contains { $0.type == UInt32(PT_DYNAMIC) && $0.fileSize > 0 }
    let dynamic = isPresent ? try view.dynamicSection() : nil
    cachedDynamic = .some(dynamic)
    return dynamic
  }

  /// The symbols that the loader and dlsym(3) see; empty when there are none.
  public func dynamicSymbols() throws(CodedError) -> SymbolTable {
    if let cachedDynamicSymbols { return cachedDynamicSymbols }
    var table = SymbolTable(symbols: [], strings: [])
    if let dynamic = try dynamicSection(), let found = try view.dynamicSymbols(dynamic) { table = found }
    cachedDynamicSymbols = table
    return table
  }

  /// Nil when there is none: see `requireBuildID`.
  public func buildID() throws(CodedError) -> BuildID? {
    if programHeaders.contains(where: { $0.type == UInt32(PT_NOTE) && $0.fileSize > 0 }), let found = try view.buildID() {
      return found
    }
    // Object files and separate debug information have no usable segments.
    for section in try sections() where section.type == UInt32(SHT_NOTE) && section.size <= 1 << 16 {
      if let found = BuildID(notes: try contents(of: section), alignment: section.alignment) { return found }
    }
    return nil
  }

  /// Throws `elf.no_build_id`.
  public func requireBuildID() throws(CodedError) -> BuildID {
    if let found = try buildID() { return found }
    throw CodedError(.elfNoBuildID, "\(printable(path)) has no GNU build ID", data: ["path": .text(path)])
  }

  /// DT_SONAME.
  public func soname() throws(CodedError) -> String? {
    if let cachedSoname { return cachedSoname }
    var name: String?
    if let dynamic = try dynamicSection(), let offset = dynamic.value(DT_SONAME) { name = try view.dynamicString(offset, dynamic) }
    cachedSoname = .some(name)
    return name
  }

  public func symbolVersions() throws(CodedError) -> SymbolVersions {
    if let cachedVersions { return cachedVersions }
    var versions = SymbolVersions()
    if let dynamic = try dynamicSection() { versions = try view.symbolVersions(dynamic, names: dynamicSymbols()) }
    cachedVersions = versions
    return versions
  }

  /// How much memory the symbol tables take that were read.
  public var tableBytes: Int { (cachedDynamicSymbols?.size ?? 0) + (cachedStaticSymbols?.size ?? 0) }

  /// DT_NEEDED, in order.
  public func needed() throws(CodedError) -> [String] {
    guard let dynamic = try dynamicSection() else { return [] }
    var names: [String] = []
    for offset in dynamic.values(DT_NEEDED) {
      if let name = try view.dynamicString(offset, dynamic) { names.append(name) }
    }
    return names
  }

  /// The loader's path in PT_INTERP; nil for libraries and static programs.
  public func interpreter() throws(CodedError) -> String? {
    guard let header = programHeaders.first(where: { $0.type == UInt32(PT_INTERP) }) else { return nil }
    guard header.fileSize <= 4096 else { throw bytes.malformed("its interpreter's path is too long") }
    return try bytes.read(header.offset, count: Int(header.fileSize)).string(at: 0)
  }

  /// PT_TLS: the object has thread-local variables.
  public var tlsSegment: ProgramHeader? { programHeaders.first { $0.type == UInt32(PT_TLS) } }

  // MARK: the tools' view

  public func sections() throws(CodedError) -> [SectionHeader] {
    if let cachedSections { return cachedSections }
    let sections = try readSections()
    cachedSections = sections
    return sections
  }

  /// The first section of this name.
  public func section(named name: String) throws(CodedError) -> SectionHeader? { try sections().first { $0.name == name } }

  /// The section's bytes; empty for one that occupies no file space. Bounded by the file's size.
  public func contents(of section: SectionHeader) throws(CodedError) -> [UInt8] {
    guard section.occupiesFile else { return [] }
    guard section.size <= UInt64(bytes.size), section.size <= UInt64(LoadedView.stringLimit) * 8 else {
      throw bytes.malformed("section \(printable(section.name)) claims \(section.size) bytes")
    }
    return try bytes.read(section.offset, count: Int(section.size))
  }

  /// `.symtab`; empty in a stripped file.
  public func staticSymbols() throws(CodedError) -> SymbolTable {
    if let cachedStaticSymbols { return cachedStaticSymbols }
    var table = SymbolTable(symbols: [], strings: [])
    let all = try sections()
    if let section = all.first(where: { $0.type == UInt32(SHT_SYMTAB) && $0.occupiesFile }), Int(section.link) < all.count {
      table = SymbolTable(symbols: try contents(of: section), strings: try contents(of: all[Int(section.link)]))
    }
    cachedStaticSymbols = table
    return table
  }

  /// Where the compiler left room to patch; nil when the section does not exist.
  public func patchableEntries() throws(CodedError) -> PatchableEntries? {
    if let cachedPatchable { return cachedPatchable }
    let entries = try PatchableEntries(of: self)
    cachedPatchable = .some(entries)
    return entries
  }

  // MARK: both

  /// The defined symbol of this name: from `.dynsym`, else from `.symtab` (static functions).
  public func symbol(named name: String) throws(CodedError) -> ELFSymbol? {
    if let found = try dynamicSymbols().symbol(named: name) { return found }
    return try staticSymbols().symbol(named: name)
  }

  /// The function whose code contains the link address: by `.symtab` where there is one, else by `.dynsym`.
  public func function(containing address: LinkAddress) throws(CodedError) -> ELFSymbol? {
    if let found = try staticSymbols().function(containing: address.rawValue) { return found }
    return try dynamicSymbols().function(containing: address.rawValue)
  }
}
