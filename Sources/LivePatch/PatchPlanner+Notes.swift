import Diagnostics
import ELF
import Inferior
import Tracing

/// What a plan tells about the functions that it diverts: which other names lead there, and where copies of them are that it
/// does not reach.
extension PatchPlanner {
  func notes(on apply: PatchPlan.Apply, in library: LoadedLibrary) -> [String] {
    otherNames(of: apply.units, in: library) + choices(of: apply.units, in: library) + copies(of: library, apply)
  }

  private func list(_ names: [String]) -> String {
    names.sorted().prefix(8).map { printable($0) }.joined(separator: ", ") + (names.count > 8 ? ", ..." : "")
  }

  // MARK: - Aliases

  /// Aliases have one entry: whoever calls by another name reaches the replacement as well. The resolver of an IFUNC has an
  /// alias, too, the IFUNC; it was asked when the library was loaded.
  private func otherNames(of units: [PatchPlan.Unit], in library: LoadedLibrary) -> [String] {
    let owners = Dictionary(units.map { ($0.entry &- library.bias, $0.oldName) }, uniquingKeysWith: { first, _ in first })
    var aliases: [UInt64: Set<String>] = [:]
    var resolved: [UInt64: Set<String>] = [:]
    var known: Set<UInt64> = []
    func look(_ table: SymbolTable) {
      table.forEachDefined { entry in
        guard entry.isCode, let owner = owners[entry.value] else { return }
        let name = table.name(of: entry)
        if name == owner { known.insert(entry.value) }
        guard name != owner, !name.isEmpty else { return }
        if entry.kind == .indirectFunction {
          resolved[entry.value, default: []].insert(name)
        } else {
          aliases[entry.value, default: []].insert(name)
        }
      }
    }
    if let table = try? library.image.symbols() { look(table) }
    // The names of a function that is not exported are in the file alone. Reading that takes its time.
    if known.count < owners.count, let table = process.fileSymbols(of: library) { look(table) }
    return units.flatMap { unit -> [String] in
      let link = unit.entry &- library.bias
      let name = printable(unit.oldName)
      var notes: [String] = []
      if let others = aliases[link] {
        notes.append("\(name) is also called \(list(Array(others))): calls by \(others.count == 1 ? "that name" : "these names") reach the replacement, too")
      }
      if let others = resolved[link] {
        notes.append("\(name) is the resolver of the IFUNC \(list(Array(others))), which has chosen already: calls of that go on as before")
      }
      return notes
    }
  }

  // MARK: - IFUNCs

  /// The IFUNCs that have chosen a function that is diverted, as the words tell that the loader has written for their callers.
  private func choices(of units: [PatchPlan.Unit], in library: LoadedLibrary) -> [String] {
    guard let table = try? library.image.symbols() else { return [] }
    var names: [UInt64: String] = [:]
    func look(_ table: SymbolTable) {
      table.forEachDefined { entry in
        if entry.kind == .indirectFunction, names[entry.value] == nil { names[entry.value] = table.name(of: entry) }
      }
    }
    look(table)
    let exported = Set(names.values)
    // An IFUNC that only the library itself calls has no exported name.
    if let relocations = try? library.image.relocations(), relocations.contains(where: { $0.kind == .indirectRelative && names[$0.addend] == nil }),
      let own = process.fileSymbols(of: library)
    {
      look(own)
    }
    guard !names.isEmpty, let libraries = try? process.libraries() else { return [] }
    let owners = Dictionary(units.map { ($0.entry, $0.oldName) }, uniquingKeysWith: { first, _ in first })
    var chosen: [UInt64: Set<String>] = [:]
    for other in exported.isEmpty ? [library] : libraries {
      guard let symbols = try? other.image.symbols(), let relocations = try? other.image.relocations() else { continue }
      for relocation in relocations {
        let name: String?
        switch relocation.kind {
        case .indirectRelative: name = other === library ? names[relocation.addend] ?? "at \(hexadecimal(relocation.addend))" : nil
        case .absolute, .globalData, .jumpSlot:
          name = relocation.symbol < symbols.count ? symbols.name(of: symbols[relocation.symbol]) : nil
          if let name, !exported.contains(name) { continue }
        default: name = nil
        }
        guard let name, let value = try? process.memory.load(relocation.place &+ other.bias, as: UInt64.self), owners[value] != nil else {
          continue
        }
        chosen[value, default: []].insert(name)
      }
    }
    return units.compactMap { unit in
      chosen[unit.entry].map { names in
        "\(printable(unit.oldName)) is what the IFUNC \(list(Array(names))) chose in this process: calls of that reach the replacement; "
          + "where it chose another implementation they do not"
      }
    }
  }

  // MARK: - Copies

  /// Where a library is mapped that is not in the link map.
  func copyElsewhere(of name: String) -> UInt64? {
    guard let libraries = try? process.libraries() else { return nil }
    let map = process.map
    for mapping in map.mappings where mapping.isExecutable && mapping.isFile && basename(of: mapping.path) == name {
      let start = mapping.range.lowerBound
      if !libraries.contains(where: { $0.image.extent.contains(start) }) { return map.imageBase(containing: start) ?? start }
    }
    return nil
  }

  /// Copies of the target library that stay as they are: under another path in the same link map, or in another namespace
  /// (dlmopen(3)), of which only the mappings tell.
  private func copies(of library: LoadedLibrary, _ apply: PatchPlan.Apply) -> [String] {
    guard let libraries = try? process.libraries() else { return [] }
    var notes: [String] = []
    for other in libraries where other !== library && other.answers(to: apply.libraryName) {
      guard let id = try? other.image.buildID(), id == apply.targetBuildID else { continue }
      notes.append("process \(process.pid) has a second copy of \(printable(apply.libraryName)), \(printable(other.path)) at \(hexadecimal(other.bias)), which is not patched")
    }
    let map = process.map
    guard let home = map.mapping(containing: library.image.extent.lowerBound), home.isFile else { return notes }
    var bases: Set<UInt64> = []
    for mapping in map.mappings where mapping.isExecutable && mapping.inode == home.inode && mapping.device == home.device {
      let start = mapping.range.lowerBound
      guard !libraries.contains(where: { $0.image.extent.contains(start) }) else { continue }
      bases.insert(map.imageBase(containing: start) ?? start)
    }
    for base in bases.sorted() {
      notes.append(
        "process \(process.pid) has another copy of \(printable(apply.libraryName)) at \(hexadecimal(base)), in a namespace of its own (dlmopen), which is not patched")
    }
    return notes
  }
}
