import Diagnostics
import ELF

/// Finds what a description names in the container and in the target.
struct PackResolver {
  let description: PatchDescription
  let container: ELFFile
  let target: ELFFile

  func metadata() throws(CodedError) -> ContainerMetadata {
    let id = PatchID(containerBuildID: try container.requireBuildID(), description: description.source)
    var units: [ContainerUnit] = []
    var lines: [String: Int] = [:]
    for pair in description.pairs {
      if let line = lines.updateValue(pair.oldName.place.line, forKey: pair.oldName.text) {
        throw description.error(
          .containerDuplicate, "\(printable(pair.oldName.text)) is already replaced in line \(line)", at: pair.oldName.place)
      }
      let old = try oldFunction(pair.oldName)
      try checkNewFunction(pair.newName)
      units.append(ContainerUnit(oldName: pair.oldName.text, newName: pair.newName.text, oldAddress: old.value))
    }
    var references: [ContainerReference] = []
    for reference in description.references { references.append(try resolve(reference)) }
    var dependencies: [PatchID] = []
    for word in description.dependencies { dependencies.append(try dependency(word)) }
    return ContainerMetadata(
      id: id, targetName: fileName(target.path), targetBuildID: try target.requireBuildID(), units: units,
      dependencies: dependencies, references: references)
  }

  private func fileName(_ path: String) -> String {
    path.utf8.lastIndex(of: 0x2f).map { String(path[path.utf8.index(after: $0)...]) } ?? path
  }

  // MARK: functions

  /// The function to be replaced, exported or static, with room at its entry.
  private func oldFunction(_ word: PatchDescription.Word) throws(CodedError) -> ELFSymbol {
    let name = printable(word.text)
    guard let symbol = try target.symbol(named: word.text) else {
      throw description.error(.targetFunctionMissing, "\(printable(target.path)) has no function \(name)", at: word.place)
        .with("symbol", .text(word.text))
    }
    if symbol.kind == .indirectFunction {
      throw description.error(.entryIndirect, "\(name) is an indirect function (IFUNC)", at: word.place).with(
        "symbol", .text(word.text))
    }
    guard symbol.kind == .function else {
      throw description.error(
        .targetFunctionMissing, "\(name) is in \(printable(target.path)), but is not a function", at: word.place
      )
      .with("symbol", .text(word.text))
    }
    try checkUnambiguous(symbol, word)
    if let reason = try EntryPreparation.flaw(of: symbol, in: target) {
      throw description.error(.entryNotPrepared, "\(name) cannot be patched: \(reason)", at: word.place).with(
        "symbol", .text(word.text))
    }
    return symbol
  }

  /// Static functions of different source files may share a name; picking one of them would be a guess.
  private func checkUnambiguous(_ symbol: ELFSymbol, _ word: PatchDescription.Word) throws(CodedError) {
    guard symbol.binding == .local else { return }
    let places = Set(try target.staticSymbols().all(named: word.text).filter { $0.isDefined && $0.isCode }.map(\.value))
    guard places.count > 1 else { return }
    let list = places.sorted().map { hexadecimal($0) }.joined(separator: ", ")
    throw description.error(
      .targetFunctionAmbiguous, "\(printable(word.text)) is the name of \(places.count) static functions, at \(list)",
      at: word.place
    )
    .with("symbol", .text(word.text))
  }

  private func checkNewFunction(_ word: PatchDescription.Word) throws(CodedError) {
    let found = try container.dynamicSymbols().symbol(named: word.text)
    if let found, found.isCode, found.isExported { return }
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

  // MARK: references and dependencies

  private func resolve(_ reference: PatchDescription.Reference) throws(CodedError) -> ContainerReference {
    // A target offset of 0 is looked up even when it is given, as SUSE's packer does.
    var targetOffset = reference.offsets?.target ?? 0
    if targetOffset == 0 {
      guard let symbol = try target.symbol(named: reference.targetName.text) else {
        throw description.error(
          .targetFunctionMissing, "\(printable(target.path)) has no symbol \(printable(reference.targetName.text))",
          at: reference.targetName.place)
      }
      targetOffset = symbol.value
      try checkThreadLocal(symbol, reference)
    }
    var patchOffset = reference.offsets?.patch ?? 0
    let own = try container.symbol(named: reference.name.text)
    if reference.offsets == nil {
      guard let own else {
        throw description.error(
          .containerContradiction, "\(printable(container.path)) has no variable \(printable(reference.name.text))",
          at: reference.name.place)
      }
      patchOffset = own.value
    }
    let size: UInt64 = reference.isThreadLocal ? 16 : 8
    if let own, own.value == patchOffset, own.size != 0, own.size < size {
      throw description.error(
        .containerContradiction, "\(printable(reference.name.text)) has \(own.size) bytes, the reference needs \(size)",
        at: reference.name.place)
    }
    return ContainerReference(
      targetName: reference.targetName.text, name: reference.name.text, targetOffset: targetOffset, patchOffset: patchOffset,
      isThreadLocal: reference.isThreadLocal)
  }

  /// `#%` is for thread-local variables and only for them: mixed up, the container would hold a wild pointer.
  private func checkThreadLocal(_ symbol: ELFSymbol, _ reference: PatchDescription.Reference) throws(CodedError) {
    guard (symbol.kind == .tls) != reference.isThreadLocal else { return }
    let name = printable(reference.targetName.text)
    let reason = symbol.kind == .tls ? "\(name) is thread-local; expected '#%'" : "\(name) is not thread-local; expected '#'"
    throw description.error(.descriptionSyntax, reason, at: reference.targetName.place)
  }

  /// The patch id in an old stand-alone metadata file: type 1, then the id.
  private func dependency(_ word: PatchDescription.Word) throws(CodedError) -> PatchID {
    let bytes: [UInt8]
    do {
      let file = try FileBytes(path: word.text)
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

/// Whether the compiler left the room that a detour needs: 14 bytes of nops before the function, 2 at its entry, behind an
/// `endbr64` where there is one (`-fpatchable-function-entry=16,14`).
enum EntryPreparation {
  static let prefix: UInt64 = 14
  static let endbr64: [UInt8] = [0xf3, 0x0f, 0x1e, 0xfa]

  /// Why the function is not prepared, or nil when it is.
  static func flaw(of symbol: ELFSymbol, in file: ELFFile) throws(CodedError) -> String? {
    guard symbol.value >= prefix, let code = try? file.read(at: LinkAddress(symbol.value - prefix), count: 20) else {
      return "its code is not in the file"
    }
    let entries = try file.patchableEntries()
    if let entries {
      // Older layouts leave more room in front; its last 14 bytes serve.
      guard let entry = entries.entry(leadingTo: symbol.value), symbol.value - entry >= prefix else {
        return "the compiler left no room before it"
      }
    } else if !code[..<14].allSatisfy({ $0 == 0x90 }) {
      return "there are no 14 bytes of nops before it"
    }
    let body = Array(code[14...])
    let point = body.starts(with: endbr64) ? 4 : 0
    let isNop = body[point + 1] == 0x90 && (body[point] == 0x90 || body[point] == 0x66)
    return isNop ? nil : "its entry does not begin with two bytes of nops"
  }
}
