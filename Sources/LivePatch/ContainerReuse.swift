import Diagnostics
import ELF
import Inferior
import Tracing

extension PatchPlanner {
  /// The loader does not load a file twice: a container that is mapped already (retired after a revert) is only referenced
  /// again, and its constructors do not run. That is the same as loading it only while its data is as in the file; anything
  /// else would put a patch in force whose variables hold values of another life. Fails with `container.stale`.
  func checkReuse(of container: Container) throws(CodedError) {
    guard let library = try mapped(container) else { return }
    let start = library.image.extent.lowerBound
    let home = process.map.mapping(containing: start)
    guard home?.shows(container.identity, container.file.bytes.descriptor) == true else {
      throw stale(container, "has an earlier file of that name loaded")
    }
    // A child that was forked while its parent loaded the container has it in its list, half constructed, for ever.
    guard patches.contains(where: { $0.container.contains(start) }) else {
      throw stale(container, "has it loaded, but not by a finished operation of ulpsh")
    }
    if let reason = try changedData(container, library) { throw stale(container, "still has it loaded, and \(reason)") }
  }

  private func mapped(_ container: Container) throws(CodedError) -> LoadedLibrary? {
    try process.libraries().first { library in
      if library.isMain { return false }
      if library.path == container.path { return true }
      let home = process.map.mapping(containing: library.image.extent.lowerBound)
      return home?.shows(container.identity, container.file.bytes.descriptor) == true
    }
  }

  private func stale(_ container: Container, _ reason: String) -> CodedError {
    CodedError(
      .containerStale, "process \(process.pid) \(reason): \(printable(container.path))",
      data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path), "reason": .text(reason)])
  }

  private static let ownedByLoader = [".got", ".dynamic", ".init_array", ".fini_array", ".preinit_array", ".data.rel.ro", ".tm_clone_table"]

  /// What differs between the container's variables and their first values; nil when nothing does.
  private func changedData(_ container: Container, _ library: LoadedLibrary) throws(CodedError) -> String? {
    let file = container.file
    if file.tlsSegment != nil { return "its thread-local variables may have been used" }
    var expected = InitialData(container, library, process)
    for section in try file.sections() where section.isAllocated && section.isWritable && section.size > 0 {
      if PatchPlanner.ownedByLoader.contains(where: { section.name.hasPrefix($0) }) { continue }
      let stored = section.occupiesFile ? try file.contents(of: section) : []
      var offset: UInt64 = 0
      while offset < section.size {
        let count = Int(min(section.size - offset, 1 << 20))
        let found = try process.memory.read(section.address &+ library.bias &+ offset, count: count)
        for index in stride(from: 0, to: count, by: 8) {
          let word = found.integer(at: index, as: UInt64.self) ?? found[index...].reversed().reduce(0) { $0 << 8 | UInt64($1) }
          let position = Int(offset) + index
          let first = stored.integer(at: position, as: UInt64.self) ?? stored.dropFirst(position).reversed().reduce(0) { $0 << 8 | UInt64($1) }
          let place = section.address &+ UInt64(position)
          if word != first, try !expected.explains(word, at: place, stored: first) { return "a variable of it has changed (\(hexadecimal(place)))" }
        }
        offset += UInt64(count)
      }
    }
    return nil
  }
}

/// What the loader and our runtime write into a container when it is loaded.
private struct InitialData {
  private let container: Container
  private let bias: UInt64
  private let process: TargetProcess
  private var relocations: [UInt64: Relocation]?

  init(_ container: Container, _ library: LoadedLibrary, _ process: TargetProcess) {
    self.container = container
    bias = library.bias
    self.process = process
  }

  mutating func explains(_ word: UInt64, at place: UInt64, stored: UInt64) throws(CodedError) -> Bool {
    let file = container.file
    let symbols = try file.dynamicSymbols()
    let isReference = container.references.contains { reference in
      let start = reference.patchOffset != 0 ? reference.patchOffset : symbols.symbol(named: reference.name)?.value ?? 0
      return place >= start && place < start &+ (reference.isThreadLocal ? 16 : 8)
    }
    if isReference { return true }
    if relocations == nil {
      relocations = Dictionary(try file.relocations().map { ($0.place, $0) }, uniquingKeysWith: { first, _ in first })
    }
    guard let relocation = relocations?[place] else {
      return try file.hasPackedRelocations() && word == stored &+ bias
    }
    switch relocation.kind {
    case .relative: return word == relocation.addend &+ bias
    case .absolute:
      guard relocation.symbol > 0, relocation.symbol < symbols.count else { return false }
      let symbol = symbols.symbol(symbols[relocation.symbol])
      let address = symbol.isDefined && symbol.visibility != .normal ? symbol.value &+ bias : try process.symbol(symbol.name)
      return address.map { word == $0 &+ relocation.addend } ?? (symbol.isDefined && word == symbol.value &+ bias &+ relocation.addend)
    default: return false
    }
  }
}

extension SectionHeader {
  /// SHF_WRITE.
  var isWritable: Bool { flags & 1 != 0 }
}
