import Diagnostics
import ELF

/// Finds the two ends of one reference of a description.
///
/// Where a name leads, in this order: `.dynsym`, `.symtab` (of the file or of its separate debug information), DWARF. A name
/// that means several places is refused with all of them, never guessed: static variables of files and of functions may
/// share names, and the offsets of the wanted one can be given instead.
struct ReferenceResolver {
  let resolver: PackResolver
  let reference: PatchDescription.Reference

  private var description: PatchDescription { resolver.description }
  private var target: PackTarget { resolver.target }
  private var container: ELFFile { resolver.container }

  func resolve(_ warnings: inout [String]) throws(CodedError) -> ContainerReference {
    let targetOffset = try targetOffset(&warnings)
    let own = try patchPlace()
    return ContainerReference(
      targetName: reference.targetName.text, name: own.name, targetOffset: targetOffset, patchOffset: own.offset,
      isThreadLocal: reference.isThreadLocal)
  }

  private func refuse(_ code: ErrorCode, _ reason: String, _ word: PatchDescription.Word, hint: String? = nil) -> CodedError {
    var error = description.error(code, reason, at: word.place).with("symbol", .text(word.text))
    error.specificHint = hint
    return error
  }

  // MARK: in the target

  /// A given offset is taken as it is. 0 means that it is looked up all the same, as SUSE's packer does, but for a
  /// thread-local variable: that may really be there.
  private func targetOffset(_ warnings: inout [String]) throws(CodedError) -> UInt64 {
    guard let given = reference.offsets?.target, given != 0 else {
      if reference.offsets != nil, reference.isThreadLocal {
        return (try? lookUp()) ?? 0
      }
      return try lookUp()
    }
    let name = printable(reference.targetName.text)
    let line = "\(printable(description.path)):\(reference.targetName.place.line): "
    if !target.contains(given, isThreadLocal: reference.isThreadLocal) {
      warnings.append(line + "the offset \(hexadecimal(given)) of \(name) lies outside of \(printable(target.name))")
    } else if let known = try? lookUp(), known != given {
      warnings.append(line + "\(name) is at \(hexadecimal(known)); the description says \(hexadecimal(given))")
    }
    return given
  }

  private func lookUp() throws(CodedError) -> UInt64 {
    let word = reference.targetName
    let name = printable(word.text)
    var all = try target.symbols(named: word.text)
    if all.isEmpty { all = try resolver.oneOf(try target.symbols(readable: word.text), meantBy: word, in: target.path) }
    guard let symbol = all.first else { return try lookUpDebugInformation() }
    if symbol.kind == .indirectFunction {
      throw refuse(.entryIndirect, "\(name) is an indirect function (IFUNC); its symbol is the resolver", word)
    }
    let fitting = all.filter { ($0.kind == .tls) == reference.isThreadLocal }
    guard let first = fitting.first else {
      let reason =
        symbol.kind == .tls ? "\(name) is thread-local; expected '#%'" : "\(name) is not thread-local; expected '#'"
      throw refuse(.descriptionSyntax, reason, word)
    }
    if let list = resolver.candidates(fitting) { throw ambiguous(list) }
    return first.value
  }

  private func lookUpDebugInformation() throws(CodedError) -> UInt64 {
    let word = reference.targetName
    let name = printable(word.text)
    let (all, lost) = target.debugVariables(named: word.text)
    let fitting = all.filter { $0.isThreadLocal == reference.isThreadLocal }
    if fitting.count > 1 {
      let places = fitting.sorted { $0.place < $1.place }.prefix(20).map { variable in
        hexadecimal(variable.place) + " (" + (variable.function.map { "\(printable($0)) in " } ?? "") + printable(variable.unit) + ")"
      }
      throw ambiguous(places.joined(separator: ", "))
    }
    if let found = fitting.first { return found.place }
    if let other = all.first {
      let reason =
        other.isThreadLocal ? "\(name) is thread-local; expected '#%'" : "\(name) is not thread-local; expected '#'"
      throw refuse(.descriptionSyntax, reason, word)
    }
    let reason =
      lost > 0
      ? "the compiler left no variable \(name) in \(printable(target.path))"
      : "\(printable(target.path)) has no symbol \(name)"
    throw refuse(
      .targetFunctionMissing, reason, word, hint: "check the name; a variable that no symbol or debug information tells of needs its offsets")
  }

  private func ambiguous(_ list: String) -> CodedError {
    refuse(
      .targetFunctionAmbiguous, "\(printable(reference.targetName.text)) is the name of several variables: \(list)",
      reference.targetName, hint: "give the offsets of the one that is meant, in the target and in the container")
  }

  // MARK: in the container

  /// The symbol of the container's variable, by which the loader may have to find it, and its offset.
  private func patchPlace() throws(CodedError) -> (name: String, offset: UInt64) {
    let word = reference.name
    let name = printable(word.text)
    var own = try container.dynamicSymbols().symbol(named: word.text)
    if own == nil {
      let all = try container.staticSymbols().all(named: word.text).filter { $0.isDefined && $0.kind != .file && $0.kind != .section }
      if reference.offsets == nil, Set(all.map(\.value)).count > 1 {
        throw refuse(.containerContradiction, "\(printable(container.path)) has several variables \(name)", word)
      }
      own = all.first.map { ELFSymbol(name: word.text, entry: $0) }
    }
    if own == nil { own = try resolver.containerVariable(word) }
    let offset: UInt64
    if let offsets = reference.offsets {
      offset = offsets.patch
    } else {
      guard let own else {
        throw refuse(.containerContradiction, "\(printable(container.path)) has no variable \(name)", word)
      }
      guard !own.isCode, own.kind != .tls else {
        throw refuse(
          .containerContradiction,
          "\(name) in the container is \(own.isCode ? "a function" : "thread-local"); expected a variable for an address", word)
      }
      offset = own.value
    }
    let size: UInt64 = reference.isThreadLocal ? 16 : 8
    if let own, own.value == offset, own.size != 0, own.size < size {
      throw refuse(.containerContradiction, "\(name) has \(own.size) bytes, the reference needs \(size)", word)
    }
    return (own?.name ?? word.text, offset)
  }
}
