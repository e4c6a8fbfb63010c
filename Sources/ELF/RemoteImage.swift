import CElf
import Diagnostics

/// An ELF object as it is mapped in a process, read through the process's memory.
///
/// The memory may be damaged or hostile: counts, lengths and places are checked against the object's own extent and against
/// fixed limits, and a contradiction throws `process.corrupt`. What was read once is kept; make a new value to look again.
public final class RemoteImage {
  /// The name for messages, usually the link map's.
  public let name: String
  public let bias: LoadBias
  public let programHeaders: [ProgramHeader]
  public let memory: any MemoryReading
  /// The file that is mapped, when that is certain: what is the same in both is read there, once for all processes.
  private let file: ELFFile?

  private var cachedDynamic: DynamicSection??
  private var cachedSymbols: SymbolTable?
  private var cachedBuildID: BuildID??

  /// The object whose ELF header is mapped at `base` (the start of its first mapping).
  ///
  /// - Parameters:
  ///   - head: what there is from `base` on, as far as it has been read.
  ///   - file: the file that is mapped, if that is certain. It must not have been written to.
  public convenience init(
    _ memory: any MemoryReading, base: UInt64, name: String, head: [UInt8] = [], file: ELFFile? = nil
  ) throws(CodedError) {
    let memory: any MemoryReading = head.isEmpty ? memory : HeadedMemory(start: base, head: head, rest: memory)
    let header = try ELFHeader(try memory.read(base, count: ELFHeader.size), name: name)
    guard header.programHeaderCount <= ProgramHeader.limit, header.programHeaderOffset < 1 << 32 else {
      throw CodedError(.processCorrupt, "\(printable(name)): its program headers are out of bounds")
    }
    let size = header.programHeaderCount * ProgramHeader.size
    let headers = ProgramHeader.parse(
      try memory.read(base &+ header.programHeaderOffset, count: size), count: header.programHeaderCount)
    guard let first = headers.first(where: { $0.isLoad }) else {
      throw CodedError(.processCorrupt, "\(printable(name)): it has no loaded segment")
    }
    // The first segment holds the header; its address minus its offset is where byte 0 of the file was linked to.
    let bias = base &- (first.address &- first.offset)
    try self.init(memory, programHeaders: headers, bias: LoadBias(bias), name: name, file: file)
  }

  /// The main program, of which the kernel tells the program headers' place (AT_PHDR, AT_PHNUM in the auxiliary vector).
  public convenience init(_ memory: any MemoryReading, programHeadersAt address: UInt64, count: Int, name: String)
    throws(CodedError)
  {
    guard (1...ProgramHeader.limit).contains(count) else {
      throw CodedError(.processCorrupt, "\(printable(name)): it claims \(count) program headers")
    }
    let headers = ProgramHeader.parse(try memory.read(address, count: count * ProgramHeader.size), count: count)
    // PT_PHDR is the table's own link address. Without one the program is not relocatable.
    let own = headers.first { $0.type == UInt32(PT_PHDR) }
    try self.init(memory, programHeaders: headers, bias: LoadBias(own.map { address &- $0.address } ?? 0), name: name)
  }

  public init(
    _ memory: any MemoryReading, programHeaders: [ProgramHeader], bias: LoadBias, name: String, file: ELFFile? = nil
  ) throws(CodedError) {
    self.memory = memory
    self.file = file
    self.programHeaders = programHeaders
    self.bias = bias
    self.name = name
    guard view.extent() != nil else { throw view.broken("its segments are out of bounds") }
  }

  var view: LoadedView {
    LoadedView(memory: memory, programHeaders: programHeaders, bias: bias.rawValue, name: name, fault: .processCorrupt)
  }

  /// First and last+1 address of the segments in the process.
  public var extent: Range<UInt64> {
    let link = view.extent() ?? 0..<0
    let low = link.lowerBound &+ bias.rawValue
    let (high, overflow) = low.addingReportingOverflow(link.upperBound - link.lowerBound)
    return low..<(overflow ? UInt64.max : high)
  }

  /// Where the object's code lies in the process: its executable segments.
  public var textRanges: [Range<UInt64>] { ranges { $0.isLoad && $0.isExecutable } }
  public var writableRanges: [Range<UInt64>] { ranges { $0.isLoad && $0.isWritable } }

  private func ranges(_ wanted: (ProgramHeader) -> Bool) -> [Range<UInt64>] {
    programHeaders.filter(wanted).compactMap { header in
      let low = header.address &+ bias.rawValue
      let (high, overflow) = low.addingReportingOverflow(header.memorySize)
      return overflow ? nil : low..<high
    }
  }

  /// PT_TLS: the object has thread-local variables.
  public var tlsSegment: ProgramHeader? { programHeaders.first { $0.type == UInt32(PT_TLS) } }

  public func dynamicSection() throws(CodedError) -> DynamicSection? {
    if let cachedDynamic { return cachedDynamic }
    let dynamic = try view.dynamicSection()
    cachedDynamic = .some(dynamic)
    return dynamic
  }

  /// The object's `.dynsym`; empty when it has none. Values are link addresses: add `bias`.
  public func symbols() throws(CodedError) -> SymbolTable {
    if let cachedSymbols { return cachedSymbols }
    if let table = try? file?.dynamicSymbols() {
      cachedSymbols = table
      return table
    }
    var table = SymbolTable(symbols: [], strings: [])
    if let dynamic = try dynamicSection(), let found = try view.dynamicSymbols(dynamic) { table = found }
    cachedSymbols = table
    return table
  }

  public func buildID() throws(CodedError) -> BuildID? {
    if let cachedBuildID { return cachedBuildID }
    let found = try view.buildID()
    cachedBuildID = .some(found)
    return found
  }

  /// The versions of its symbols, defined and needed.
  public func symbolVersions() throws(CodedError) -> SymbolVersions {
    if let versions = try? file?.symbolVersions() { return versions }
    guard let dynamic = try dynamicSection() else { return SymbolVersions() }
    return try view.symbolVersions(dynamic, names: symbols())
  }

  /// What the loader has written into the object, as DT_RELA and DT_JMPREL tell.
  public func relocations() throws(CodedError) -> [Relocation] {
    if let found = try? file?.relocations() { return found }
    guard let dynamic = try dynamicSection() else { return [] }
    return try view.relocations(dynamic)
  }

  public func soname() throws(CodedError) -> String? {
    if let file, let found = try? Optional.some(file.soname()) { return found }
    guard let dynamic = try dynamicSection(), let offset = dynamic.value(DT_SONAME) else { return nil }
    return try view.dynamicString(offset, dynamic)
  }

  /// The address in the process of a defined symbol of `.dynsym`. Of a GNU indirect function it is the resolver's, so look
  /// at the symbol's kind first where that matters; of a thread-local variable there is none.
  public func address(of name: String) throws(CodedError) -> RemoteAddress? {
    guard let symbol = try symbols().symbol(named: name), symbol.kind != .tls else { return nil }
    // Absolute symbols are not relocated (glibc since 2.28).
    if symbol.section == UInt16(SHN_ABS) { return RemoteAddress(symbol.value) }
    return symbol.address + bias
  }

  /// The exported function whose code contains the address in the process.
  public func function(containing address: RemoteAddress) throws(CodedError) -> ELFSymbol? {
    guard extent.contains(address.rawValue) else { return nil }
    return try symbols().function(containing: (address - bias).rawValue)
  }
}

/// Memory of which a piece has been read already.
private struct HeadedMemory: MemoryReading {
  let start: UInt64
  let head: [UInt8]
  let rest: any MemoryReading

  func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    guard address >= start, count >= 0, address - start <= UInt64(head.count), count <= head.count - Int(address - start) else {
      return try rest.read(address, count: count)
    }
    let first = Int(address - start)
    return Array(head[first..<first + count])
  }
}
