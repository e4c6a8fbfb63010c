import Diagnostics
import ELF

/// Finds what a description names in the container and in the target.
struct PackResolver {
  let description: PatchDescription
  let container: ELFFile
  let target: PackTarget
  private let readable = ReadableNameSearch()

  init(description: PatchDescription, container: ELFFile, target: PackTarget) {
    self.description = description
    self.container = container
    self.target = target
  }

  /// The metadata, and what is allowed but will not work everywhere. Throws the first mistake, with all of them in its
  /// `mistakes`.
  func metadata() throws(CodedError) -> (ContainerMetadata, warnings: [String]) {
    let id = PatchID(containerBuildID: try container.requireBuildID(), description: description.source)
    var mistakes: [CodedError] = []
    var warnings: [String] = []
    /// Runs `body`; nil when that finds a mistake.
    func collect<Value>(_ body: () throws(CodedError) -> Value) -> Value? {
      guard mistakes.count < DescriptionParser.mistakeLimit else { return nil }
      do { return try body() } catch {
        mistakes.append(error)
        return nil
      }
    }
    var units: [ContainerUnit] = []
    var lines: [String: Int] = [:]
    for pair in description.pairs {
      if let line = lines.updateValue(pair.oldName.place.line, forKey: pair.oldName.text) {
        mistakes.append(
          description.error(
            .containerDuplicate, "\(printable(pair.oldName.text)) is already replaced in line \(line)", at: pair.oldName.place))
        continue
      }
      let old = collect { () throws(CodedError) in try oldFunction(pair.oldName, &warnings) }
      let new = collect { () throws(CodedError) in try newFunction(pair.newName) }
      if let old, let new { units.append(ContainerUnit(oldName: old.name, newName: new, oldAddress: old.value)) }
    }
    let references = description.references.compactMap { reference in
      collect { () throws(CodedError) in try ReferenceResolver(resolver: self, reference: reference).resolve(&warnings) }
    }
    let dependencies = description.dependencies.compactMap { word in
      collect { () throws(CodedError) in try dependency(word) }
    }
    if let error = CodedError.together(mistakes.sorted { PackResolver.line(of: $0) < PackResolver.line(of: $1) }) { throw error }
    let metadata = ContainerMetadata(
      id: id, targetName: target.name, targetBuildID: target.buildID, units: units, dependencies: dependencies,
      references: references)
    return (metadata, warnings)
  }

  private static func line(of error: CodedError) -> Int64 {
    if case .integer(let line)? = error.data.first(where: { $0.name == "line" })?.value { line } else { 0 }
  }

  // MARK: functions

  /// The function to be replaced, exported or static, with room at its entry.
  private func oldFunction(_ word: PatchDescription.Word, _ warnings: inout [String]) throws(CodedError) -> ELFSymbol {
    let name = printable(word.text)
    var all = try target.symbols(named: word.text)
    if all.isEmpty { all = try oneOf(try target.symbols(readable: word.text).filter(\.isCode), meantBy: word, in: target.path) }
    func refuse(_ code: ErrorCode, _ reason: String) -> CodedError {
      description.error(code, reason, at: word.place).with("symbol", .text(word.text))
    }
    guard let first = all.first else {
      throw refuse(.targetFunctionMissing, "\(printable(target.path)) has no function \(name)")
    }
    let functions = all.filter(\.isCode)
    guard let symbol = functions.first else {
      throw refuse(.targetFunctionMissing, "\(printable(first.name)) is in \(printable(target.path)), but is not a function")
    }
    if symbol.kind == .indirectFunction { throw refuse(.entryIndirect, "\(name) is an indirect function (IFUNC)") }
    // Static functions of different source files may share a name; picking one of them would be a guess.
    if let list = candidates(functions) {
      throw refuse(.targetFunctionAmbiguous, "\(name) is the name of several static functions: \(list)")
    }
    if let file = target.file, let flaw = try EntryFlaw(of: symbol, in: file) {
      guard flaw.code == .entryCrossesPage else { throw refuse(flaw.code, "\(name) cannot be patched: \(flaw.reason)") }
      // The container is well-formed, and another runtime may take it. Ours refuses before anything is changed.
      warnings.append("\(printable(description.path)):\(word.place.line): \(name) will be refused: \(flaw.reason)")
    }
    let clones = try target.clones(of: symbol.name)
    if !clones.isEmpty {
      warnings.append(
        "\(printable(description.path)):\(word.place.line): calls may take copies that the compiler made of \(name), and not reach the patch: "
          + clones.prefix(8).map { printable($0) }.joined(separator: ", "))
    }
    return symbol
  }

  /// The symbols that a C++ name means, which may be one. Of several it is the reader who knows which is meant.
  func oneOf(_ found: [ELFSymbol], meantBy word: PatchDescription.Word, in path: String) throws(CodedError) -> [ELFSymbol] {
    guard found.count > 1 else { return found }
    let names = found.map(\.name).sorted()
    var error = description.error(
      .targetFunctionAmbiguous,
      "\(printable(word.text)) may be each of these in \(printable(path)): "
        + names.prefix(20).map { printable($0) }.joined(separator: ", ") + (names.count > 20 ? ", ..." : ""), at: word.place)
    error.specificHint = "give the parameters too, or one of these symbols instead"
    throw error.with("symbol", .text(word.text)).with("candidates", .list(names.prefix(1000).map { .text($0) }))
  }

  /// The places of a name that has several; nil when it has one.
  func candidates(_ symbols: [ELFSymbol]) -> String? {
    guard Set(symbols.map(\.value)).count > 1 else { return nil }
    return symbols.sorted { $0.value < $1.value }.prefix(20).map { symbol in
      hexadecimal(symbol.value) + (target.sourceFile(of: symbol).map { " (\(printable($0)))" } ?? "")
    }.joined(separator: ", ")
  }

  /// The symbol of the replacement, which the loader must be able to find.
  private func newFunction(_ word: PatchDescription.Word) throws(CodedError) -> String {
    let found = try container.dynamicSymbols().symbol(named: word.text)
    if let found, found.isCode, found.isExported { return found.name }
    if found == nil {
      let meant = try containerSymbols(meantBy: word.text).filter { $0.isCode && $0.isExported }
      if let only = try oneOf(meant, meantBy: word, in: container.path).first { return only.name }
    }
    let name = printable(word.text)
    let reason: String
    if found != nil {
      reason = "\(name) is in the container, but is not a function"
    } else if try container.staticSymbols().symbol(named: word.text) != nil {
      reason = "\(name) is in the container, but is not exported: it must not be static or hidden"
    } else {
      reason = "\(printable(container.path)) has no function \(name)"
    }
    throw description.error(.containerContradiction, reason, at: word.place).with("symbol", .text(word.text))
  }

  /// The container's variable that a C++ name means.
  func containerVariable(_ word: PatchDescription.Word) throws(CodedError) -> ELFSymbol? {
    try oneOf(try containerSymbols(meantBy: word.text).filter { !$0.isCode }, meantBy: word, in: container.path).first
  }

  private func containerSymbols(meantBy text: String) throws(CodedError) -> [ELFSymbol] {
    try readable.symbols(meantBy: text) { () throws(CodedError) in
      try container.dynamicSymbols().defined + container.staticSymbols().defined
    }
  }

  // MARK: dependencies

  /// The patch id in an old stand-alone metadata file: type 1, then the id.
  private func dependency(_ word: PatchDescription.Word) throws(CodedError) -> PatchID {
    let bytes: [UInt8]
    do {
      let file = try FileBytes(path: description.place(of: word))
      bytes = try file.read(0, count: min(file.size, 1 + PatchID.size))
    } catch {
      throw description.error(error.code, error.message, at: word.place)
    }
    guard bytes.first == MetadataCodec.applyType, let id = PatchID(Array(bytes.dropFirst())) else {
      throw description.error(.containerMalformed, "\(printable(word.text)) is not a metadata file", at: word.place)
    }
    return id
  }
}
