import Diagnostics
import ELF

/// Which functions of a library or program can be patched, and why the others cannot.
public struct PatchabilitySurvey: Sendable {
  public struct Function: Sendable {
    public let name: String
    public let address: UInt64
    public let size: UInt64
    public let isExported: Bool
    /// Nil: the function can be patched.
    public let code: ErrorCode?
    public let reason: String?
    /// Copies of it that the compiler made for some of its callers, which go past the entry.
    public internal(set) var clones: [String] = []
    /// The compiler also put its code into callers. Nil when no debug information tells.
    public internal(set) var isInlined: Bool?
  }

  public let path: String
  public let buildID: BuildID?
  /// By address.
  public private(set) var functions: [Function] = []
  public private(set) var warnings: [String] = []

  /// One at least can be patched, and a patch can say which build it is for.
  public var isPatchable: Bool { buildID != nil && functions.contains { $0.code == nil } }

  /// Throws what opening an ELF file throws.
  public init(path: String, debugPath: String? = nil) throws(CodedError) {
    let file = try ELFFile(path: path)
    self.path = resolvedPath(path)
    buildID = try file.buildID()
    let debug: ELFFile?
    if let debugPath { debug = try file.debugFile(at: debugPath) } else { debug = nil }
    if buildID == nil { warnings.append("it has no build ID: no patch can be made for it") }
    if try file.patchableEntries() == nil {
      warnings.append("it has no section __patchable_function_entries: it was not built with -fpatchable-function-entry, or stripped of it")
    }
    var source = try file.staticSymbols()
    var split = debug
    if source.count <= 1 {
      split = split ?? file.debugFile()
      if let split { source = try split.staticSymbols() }
    }
    try survey([try file.dynamicSymbols(), source], file)
    if source.count <= 1 { warnings.append("it has no symbol table: static functions are not listed") }
    let informed = file.hasDebugInformation ? file : split ?? file.debugFile()
    if let known = informed?.debugFunctions() { add(known) } else { warnings.append("without debug information, inlined copies are not known") }
    try file.bytes.requireUnchanged()
  }

  private mutating func survey(_ tables: [SymbolTable], _ file: ELFFile) throws(CodedError) {
    var found: [UInt64: Function] = [:]
    var clones: [String: [String]] = [:]
    for (index, table) in tables.enumerated() {
      var number = 1
      while number < table.count {
        let symbol = table.symbol(table[number])
        number += 1
        guard symbol.isDefined, symbol.isCode, !symbol.name.isEmpty else { continue }
        if let original = CloneName(symbol.name) { clones[original.name, default: []].append(symbol.name) }
        guard found[symbol.value] == nil else { continue }
        let flaw = try EntryFlaw(of: symbol, in: file)
        found[symbol.value] = Function(
          name: symbol.name, address: symbol.value, size: symbol.size, isExported: index == 0 && symbol.isExported, code: flaw?.code,
          reason: flaw?.reason)
      }
    }
    functions = found.values.sorted { $0.address < $1.address }
    for index in functions.indices {
      if let copies = clones[functions[index].name] { functions[index].clones = Array(Set(copies)).sorted() }
    }
  }

  private mutating func add(_ known: DebugFunctions) {
    for index in functions.indices { functions[index].isInlined = known.inlined.contains(functions[index].name) }
    if !known.registerAllocating.isEmpty {
      let files = known.registerAllocating.prefix(5).map { printable($0) }.joined(separator: ", ")
      warnings.append(
        "compiled with -fipa-ra in force, so that callers in the same file may keep values in registers that a new function overwrites: "
          + files + (known.registerAllocating.count > 5 ? ", ..." : ""))
    }
  }

  public var record: DiagnosticValue {
    .record([
      .init("path", .text(path)), .init("build_id", .text(buildID?.description ?? "")), .init("livepatchable", .flag(isPatchable)),
      .init("patchable", .integer(Int64(functions.count { $0.code == nil }))),
      .init("unpatchable", .integer(Int64(functions.count { $0.code != nil }))),
      .init("functions", .list(functions.map(\.record))), .init("warnings", .list(warnings.map { .text($0) })),
    ])
  }
}

extension PatchabilitySurvey.Function {
  var record: DiagnosticValue {
    var members: [DiagnosticValue.Member] = [
      .init("name", .text(name)), .init("address", .integer(Int64(bitPattern: address))),
      .init("size", .integer(Int64(bitPattern: size))), .init("exported", .flag(isExported)), .init("patchable", .flag(code == nil)),
    ]
    if let code { members.append(.init("code", .text(code.name))) }
    if let reason { members.append(.init("reason", .text(reason))) }
    if !clones.isEmpty { members.append(.init("clones", .list(clones.map { .text($0) }))) }
    if let isInlined { members.append(.init("inlined", .flag(isInlined))) }
    return .record(members)
  }
}

/// The name of a function that gcc or clang derived from another: `f.constprop.0`, `f.part.1.cold`.
struct CloneName {
  /// Of the function it was made of.
  let name: String

  /// Whether calls may take it instead of the function: not so the rare paths of one, and those that were only renamed.
  let isCopy: Bool

  private static let kinds: Set<String> = ["constprop", "isra", "part", "cold", "lto_priv", "llvm", "specialized"]

  /// Nil for a name that is none.
  init?(_ name: String) {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count > 1, !parts[0].isEmpty, let first = parts.dropFirst().first, CloneName.kinds.contains(String(first)) else { return nil }
    self.name = String(parts[0])
    isCopy = !parts.contains("cold") && first != "lto_priv" && first != "llvm"
  }
}
