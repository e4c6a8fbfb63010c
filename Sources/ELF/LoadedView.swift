import CElf
import Diagnostics

/// The dynamic section of an object: what the loader is told about it (gABI, "Dynamic Section").
public struct DynamicSection: Sendable {
  let entries: [(tag: UInt64, value: UInt64)]

  /// More entries than this are refused; real objects have about 30.
  static let limit = 4096

  /// Reads up to DT_NULL.
  init(_ bytes: [UInt8]) {
    var entries: [(tag: UInt64, value: UInt64)] = []
    var position = 0
    while let tag: UInt64 = bytes.integer(at: position), let value: UInt64 = bytes.integer(at: position + 8), tag != 0 {
      entries.append((tag, value))
      position += 16
    }
    self.entries = entries
  }

  /// The value of a tag; of several the last, as in glibc.
  public func value(_ tag: Int32) -> UInt64? {
    let wanted = UInt64(bitPattern: Int64(tag))
    return entries.last { $0.tag == wanted }?.value
  }

  public func values(_ tag: Int32) -> [UInt64] {
    let wanted = UInt64(bitPattern: Int64(tag))
    return entries.filter { $0.tag == wanted }.map(\.value)
  }

  public var hasTextRelocations: Bool { value(DT_TEXTREL) != nil || (value(DT_FLAGS) ?? 0) & UInt64(DF_TEXTREL) != 0 }
  /// The object uses TLS at offsets fixed at load time, so it cannot always be loaded late.
  public var hasStaticTLS: Bool { (value(DT_FLAGS) ?? 0) & UInt64(DF_STATIC_TLS) != 0 }
  /// dlclose(3) never unloads it.
  public var isNoDelete: Bool { (value(DT_FLAGS_1) ?? 0) & UInt64(DF_1_NODELETE) != 0 }
}

/// An object as the loader sees it: program headers, and the dynamic section they lead to. Serves a mapped image (through
/// the process's memory) and a file (through its PT_LOAD segments, bias 0) with the same code and the same bounds.
struct LoadedView {
  let memory: any MemoryReading
  let programHeaders: [ProgramHeader]
  let bias: UInt64
  /// Names the object in messages.
  let name: String
  /// The code of a contradiction: `elf.malformed` for files, `process.corrupt` for memory.
  let fault: ErrorCode

  /// No honest library has more; a hostile one must not make us allocate more than this.
  static let symbolLimit = 1 << 20
  static let stringLimit = 64 << 20
  static let relocationLimit = 1 << 20

  func broken(_ reason: String) -> CodedError {
    CodedError(fault, "\(printable(name)): \(reason)", data: ["path": .text(name)])
  }

  /// First and last+1 link address of the PT_LOAD segments.
  func extent() -> Range<UInt64>? {
    var low = UInt64.max
    var high: UInt64 = 0
    for header in programHeaders where header.isLoad {
      guard let end = header.end else { return nil }
      low = min(low, header.address)
      high = max(high, end)
    }
    return low < high ? low..<high : nil
  }

  func dynamicSection() throws(CodedError) -> DynamicSection? {
    guard let header = programHeaders.first(where: { $0.type == UInt32(PT_DYNAMIC) }) else { return nil }
    guard header.memorySize <= UInt64(DynamicSection.limit * 16) else { throw broken("its dynamic section is too long") }
    return DynamicSection(try memory.read(header.address &+ bias, count: Int(header.memorySize)))
  }

  func buildID() throws(CodedError) -> BuildID? {
    for header in programHeaders where header.type == UInt32(PT_NOTE) && header.memorySize <= 1 << 16 {
      let notes = try memory.read(header.address &+ bias, count: Int(header.memorySize))
      if let found = BuildID(notes: notes, alignment: header.alignment) { return found }
    }
    return nil
  }

  /// An address out of the dynamic section. glibc relocates these in memory, but not in the vDSO and not in files, so
  /// whichever reading lies inside the object is the right one.
  func address(_ pointer: UInt64) -> UInt64? {
    guard let extent = extent() else { return nil }
    if extent.contains(pointer &- bias) { return pointer }
    if extent.contains(pointer) { return pointer &+ bias }
    return nil
  }

  /// Bytes from `address` to the end of the object.
  private func room(_ address: UInt64) -> UInt64 {
    guard let extent = extent(), extent.contains(address &- bias) else { return 0 }
    return extent.upperBound - (address &- bias)
  }

  /// `.dynsym` as DT_SYMTAB and the hash tables describe it; nil when the object has none.
  func dynamicSymbols(_ dynamic: DynamicSection) throws(CodedError) -> SymbolTable? {
    guard let symbolPointer = dynamic.value(DT_SYMTAB), let stringPointer = dynamic.value(DT_STRTAB) else { return nil }
    guard let symbols = address(symbolPointer), let strings = address(stringPointer) else {
      throw broken("its symbol table lies outside of it")
    }
    if let size = dynamic.value(DT_SYMENT), size != UInt64(SymbolTable.entrySize) {
      throw broken("its symbols have another size")
    }
    let count = try symbolCount(dynamic)
    guard count <= LoadedView.symbolLimit, UInt64(count * SymbolTable.entrySize) <= room(symbols) else {
      throw broken("it claims \(count) symbols")
    }
    let stringSize = dynamic.value(DT_STRSZ) ?? 0
    guard stringSize <= UInt64(LoadedView.stringLimit), stringSize <= room(strings) else {
      throw broken("its string table is too long")
    }
    var versions: [UInt8] = []
    if let pointer = dynamic.value(DT_VERSYM), let place = address(pointer), UInt64(count * 2) <= room(place) {
      versions = try memory.read(place, count: count * 2)
    }
    return SymbolTable(
      symbols: try memory.read(symbols, count: count * SymbolTable.entrySize),
      strings: try memory.read(strings, count: Int(stringSize)), versions: versions)
  }

  /// The dynamic section does not say how many symbols there are; the hash tables do.
  private func symbolCount(_ dynamic: DynamicSection) throws(CodedError) -> Int {
    if let pointer = dynamic.value(DT_HASH), let table = address(pointer) {
      let header = try memory.read(table, count: 8)
      return Int(header.integer(at: 4, as: UInt32.self) ?? 0)
    }
    guard let pointer = dynamic.value(DT_GNU_HASH), let table = address(pointer) else { return 0 }
    return try gnuHashCount(table)
  }

  /// GNU hash: header {buckets, first hashed symbol, bloom words, shift}, bloom filter, buckets (lowest symbol of each),
  /// then one word for each hashed symbol whose bit 0 ends a bucket's run. The last symbol ends the highest bucket's run.
  private func gnuHashCount(_ table: UInt64) throws(CodedError) -> Int {
    let header = try memory.read(table, count: 16)
    let bucketCount = Int(header.integer(at: 0, as: UInt32.self) ?? 0)
    let first = Int(header.integer(at: 4, as: UInt32.self) ?? 0)
    let bloomWords = Int(header.integer(at: 8, as: UInt32.self) ?? 0)
    guard bucketCount <= LoadedView.symbolLimit, bloomWords <= LoadedView.symbolLimit, first <= LoadedView.symbolLimit else {
      throw broken("its hash table is too long")
    }
    let bucketPlace = table &+ 16 &+ UInt64(bloomWords * 8)
    guard UInt64(bucketCount * 4) <= room(bucketPlace) else { throw broken("its hash table leaves it") }
    let buckets = try memory.read(bucketPlace, count: bucketCount * 4)
    var last = 0
    for index in 0..<bucketCount { last = max(last, Int(buckets.integer(at: index * 4, as: UInt32.self) ?? 0)) }
    guard last >= first else { return first }
    guard last <= LoadedView.symbolLimit else { throw broken("its hash table names too many symbols") }
    // Read the run in steps: its length is not known, and the segment may end right behind it.
    var place = bucketPlace &+ UInt64(bucketCount * 4) &+ UInt64((last - first) * 4)
    while last < LoadedView.symbolLimit {
      let step = Int(min(64, room(place) / 4))
      guard step > 0 else { break }
      let words = try memory.read(place, count: step * 4)
      for index in 0..<step {
        last += 1
        if (words.integer(at: index * 4, as: UInt32.self) ?? 1) & 1 != 0 { return last }
      }
      place &+= UInt64(step * 4)
    }
    throw broken("its hash table does not end")
  }

  /// The relocations of DT_RELA and DT_JMPREL.
  func relocations(_ dynamic: DynamicSection) throws(CodedError) -> [Relocation] {
    var found: [Relocation] = []
    for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
      guard let pointer = dynamic.value(table), let size = dynamic.value(size), let place = address(pointer) else { continue }
      guard size <= room(place), size <= UInt64(LoadedView.relocationLimit * 24) else { throw broken("it has too many relocations") }
      found += Relocation.parse(try memory.read(place, count: Int(size)))
    }
    return found
  }

  /// The string at an offset of the dynamic string table.
  func dynamicString(_ offset: UInt64, _ dynamic: DynamicSection) throws(CodedError) -> String? {
    guard let pointer = dynamic.value(DT_STRTAB), let strings = address(pointer), offset < dynamic.value(DT_STRSZ) ?? 0 else {
      return nil
    }
    let count = min(4096, (dynamic.value(DT_STRSZ) ?? 0) - offset, room(strings &+ offset))
    return try memory.read(strings &+ offset, count: Int(count)).string(at: 0)
  }
}
