import Diagnostics
import ELF

/// What a description's `@` names, as far as packing asks: an ELF file with all the symbols that can be found for it, or the
/// symbols alone (JSON from `extract`).
public struct PackTarget {
  public let path: String
  /// What the metadata calls it.
  let name: String
  let buildID: BuildID
  /// Nil when only symbols are known.
  let file: ELFFile?
  /// The file that holds separate debug information, when there is one.
  private let debug: DebugFileSearch
  private let readable = ReadableNameSearch()
  private let cloneSearch = CloneSearch()
  private let extract: [String: [ELFSymbol]]

  /// - Parameter debugPath: where separate debug information lies; nil: where distributions put it.
  init(_ file: ELFFile, debugPath: String? = nil) throws(CodedError) {
    path = file.path
    name = PackTarget.fileName(file.path)
    buildID = try file.requireBuildID()
    self.file = file
    debug = DebugFileSearch(file, given: try debugPath.map { path throws(CodedError) in try file.debugFile(at: path) })
    extract = [:]
  }

  init(_ symbols: ExtractedSymbols) {
    path = symbols.path
    name = PackTarget.fileName(symbols.name)
    buildID = symbols.buildID
    file = nil
    debug = DebugFileSearch(nil, given: nil)
    extract = Dictionary(grouping: symbols.symbols.filter(\.isDefined), by: \.name)
  }

  private static func fileName(_ path: String) -> String {
    path.utf8.lastIndex(of: 0x2f).map { String(path[path.utf8.index(after: $0)...]) } ?? path
  }

  /// Every symbol that a name may mean: of `.dynsym` the one that the loader takes; else all of `.symtab`, the own or the
  /// separate one.
  func symbols(named name: String) throws(CodedError) -> [ELFSymbol] {
    guard let file else {
      let all = extract[name] ?? []
      let visible = all.filter { $0.binding != .local }
      return Array((visible.isEmpty ? all : visible).prefix(1000))
    }
    if let exported = try file.dynamicSymbols().symbol(named: name) { return [exported] }
    var table = try file.staticSymbols()
    if table.count <= 1, let other = debug.file { table = try other.staticSymbols() }
    let all = table.all(named: name).filter { $0.isDefined && $0.kind != .section && $0.kind != .file }
    let visible = all.filter { $0.binding != .local }
    return (visible.isEmpty ? all : visible).map { ELFSymbol(name: name, entry: $0) }
  }

  /// What a C++ name that no symbol has may mean, by the symbols that demangle to it.
  func symbols(readable text: String) throws(CodedError) -> [ELFSymbol] {
    try readable.symbols(meantBy: text) { () throws(CodedError) -> [ELFSymbol] in
      try (file?.dynamicSymbols().defined ?? []) + localSymbols()
    }
  }

  /// All of `.symtab`, the own or the separate one; of an extract all there is.
  private func localSymbols() throws(CodedError) -> [ELFSymbol] {
    guard let file else { return extract.values.joined().filter(\.isDefined) }
    var table = try file.staticSymbols()
    if table.count <= 1, let other = debug.file { table = try other.staticSymbols() }
    return table.defined
  }

  /// Copies that the compiler made of a function for some of its callers, which never come to its entry.
  func clones(of name: String) throws(CodedError) -> [String] {
    try cloneSearch.clones(of: name, among: localSymbols)
  }

  /// The source file of a local symbol, as far as the symbol table tells.
  func sourceFile(of symbol: ELFSymbol) -> String? {
    guard let file, let own = try? file.staticSymbols() else { return nil }
    let table = own.count > 1 ? own : (try? debug.file?.staticSymbols()) ?? own
    return table.sourceFile(of: symbol.entry)
  }

  /// Variables that only the debug information knows: static ones of functions, and those of a stripped file.
  func debugVariables(named name: String) -> (found: [DebugVariable], lost: Int) {
    guard let file else { return ([], 0) }
    if file.hasDebugInformation { return file.debugVariables(named: name) }
    return debug.file?.debugVariables(named: name) ?? ([], 0)
  }

  /// Whether a literal offset lies where the target can have something.
  func contains(_ offset: UInt64, isThreadLocal: Bool) -> Bool {
    guard let file else { return true }
    if isThreadLocal { return file.tlsSegment.map { offset < $0.memorySize } ?? false }
    return file.programHeaders.contains { $0.isLoad && $0.address <= offset && offset < $0.end ?? 0 }
  }
}

/// Looks for the separate debug file when it is first needed, and once.
private final class DebugFileSearch {
  private let owner: ELFFile?
  private var found: ELFFile??

  init(_ owner: ELFFile?, given: ELFFile?) {
    self.owner = owner
    if let given { found = .some(given) }
  }

  var file: ELFFile? {
    if let found { return found }
    let result = owner?.debugFile()
    found = .some(result)
    return result
  }
}

/// Sorts the compiler's copies by the functions they were made of, when first asked, and once.
private final class CloneSearch {
  private var clones: [String: [String]]?

  func clones(of name: String, among symbols: () throws(CodedError) -> [ELFSymbol]) throws(CodedError) -> [String] {
    if let clones { return clones[name] ?? [] }
    var found: [String: [String]] = [:]
    for symbol in try symbols() where symbol.isCode {
      if let original = CloneName(symbol.name), original.isCopy { found[original.name, default: []].append(symbol.name) }
    }
    clones = found.mapValues { $0.sorted() }
    return clones?[name] ?? []
  }
}

/// Demangles the symbols when a name is first asked for, and once.
final class ReadableNameSearch {
  private var names: ReadableNames?

  func symbols(meantBy text: String, among symbols: () throws(CodedError) -> [ELFSymbol]) throws(CodedError) -> [ELFSymbol] {
    if let names { return names.symbols(meantBy: text) }
    let found = ReadableNames(try symbols())
    names = found
    return found.symbols(meantBy: text)
  }
}

/// The symbols of a library without the library: what `extract` wrote.
public struct ExtractedSymbols: Sendable {
  public let path: String
  public let name: String
  public let buildID: BuildID
  public let symbols: [ELFSymbol]

  public init(path: String, name: String, buildID: BuildID, symbols: [ELFSymbol]) {
    self.path = path
    self.name = name
    self.buildID = buildID
    self.symbols = symbols
  }
}
