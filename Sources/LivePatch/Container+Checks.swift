import Diagnostics
import ELF

extension Container {
  /// One container must not replace a function twice: neither by name nor by address.
  static func checkDuplicates(_ metadata: ContainerMetadata, _ file: ELFFile) throws(CodedError) {
    var names: Set<String> = []
    var addresses: Set<UInt64> = []
    for unit in metadata.units {
      let isNew = names.insert(unit.oldName).inserted
      guard isNew, unit.oldAddress == 0 || addresses.insert(unit.oldAddress).inserted else {
        throw CodedError(
          .containerDuplicate, "\(printable(file.path)) replaces \(printable(unit.oldName)) twice",
          data: ["path": .text(file.path), "symbol": .text(unit.oldName)])
      }
    }
  }

  /// Everything the metadata names must be in the object, as the loader will see it. Returns the replacements.
  static func checkContents(_ metadata: ContainerMetadata, _ file: ELFFile) throws(CodedError) -> [ELFSymbol] {
    let symbols = try file.dynamicSymbols()
    var functions: [ELFSymbol] = []
    var missing: [String] = []
    for unit in metadata.units {
      if let found = symbols.symbol(named: unit.newName), found.isCode, found.isExported {
        functions.append(found)
      } else if !missing.contains(unit.newName) {
        missing.append(unit.newName)
      }
    }
    var misplaced: [String] = []
    for reference in metadata.references where !holds(reference, file, symbols) && !misplaced.contains(reference.name) {
      misplaced.append(reference.name)
    }
    var reasons: [String] = []
    if !missing.isEmpty { reasons.append("does not export the functions " + listed(missing)) }
    if !misplaced.isEmpty { reasons.append("has no room to write the references " + listed(misplaced)) }
    guard reasons.isEmpty else {
      throw CodedError(
        .containerContradiction, "\(printable(file.path)) \(reasons.joined(separator: " and ")), which its metadata names",
        data: ["path": .text(file.path), "symbols": .list((missing + misplaced).map { .text($0) })])
    }
    return functions
  }

  private static func listed(_ names: [String]) -> String { names.map { printable($0) }.joined(separator: ", ") }

  /// Whether the container has the variable that a reference is written into. An offset is checked as what it is, a place
  /// for a write: it must lie wholly in a writable segment.
  private static func holds(_ reference: ContainerReference, _ file: ELFFile, _ symbols: SymbolTable) -> Bool {
    var place = reference.patchOffset
    if place == 0 {
      guard let found = symbols.symbol(named: reference.name), found.isExported, !found.isCode, found.kind != .tls else {
        return false
      }
      place = found.value
    }
    let size: UInt64 = reference.isThreadLocal ? 16 : 8
    return file.programHeaders.contains { header in
      guard header.isLoad, header.isWritable, header.memorySize >= size, let end = header.end else { return false }
      return place >= header.address && place <= end - size
    }
  }
}

/// Bug, feature and vulnerability numbers in free text: `bsc#123`, `jsc#SLE-123`, `CVE-2024-123`, in any letter case.
public enum PatchLabels {
  /// As written, in order, each once.
  public static func scan(_ text: String) -> [String] {
    let bytes = Array(text.utf8)
    var labels: [String] = []
    var position = 0
    while position < bytes.count {
      guard let end = label(in: bytes, at: position) else {
        position += 1
        continue
      }
      let label = String(decoding: bytes[position..<end], as: UTF8.self)
      if !labels.contains(label) { labels.append(label) }
      position = end
    }
    return labels
  }

  private static func label(in bytes: [UInt8], at start: Int) -> Int? {
    if let next = literal("bsc#", bytes, start) { return run(isDigit, bytes, next) }
    if let next = literal("jsc#", bytes, start) {
      return run(isLetter, bytes, next).flatMap { literal("-", bytes, $0) }.flatMap { run(isDigit, bytes, $0) }
    }
    if let next = literal("cve-", bytes, start) {
      return run(isDigit, bytes, next).flatMap { literal("-", bytes, $0) }.flatMap { run(isDigit, bytes, $0) }
    }
    return nil
  }

  /// The end of `wanted` (lower case) at `start`, in any letter case.
  private static func literal(_ wanted: StaticString, _ bytes: [UInt8], _ start: Int) -> Int? {
    let count = wanted.utf8CodeUnitCount
    guard start <= bytes.count - count else { return nil }
    let isEqual = wanted.withUTF8Buffer { wanted in
      (0..<count).allSatisfy { wanted[$0] == (isLetter(bytes[start + $0]) ? bytes[start + $0] | 0x20 : bytes[start + $0]) }
    }
    return isEqual ? start + count : nil
  }

  /// The end of the non-empty run at `start`.
  private static func run(_ belongs: (UInt8) -> Bool, _ bytes: [UInt8], _ start: Int) -> Int? {
    var end = start
    while end < bytes.count, belongs(bytes[end]) { end += 1 }
    return end > start ? end : nil
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
  private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte | 0x20) }
}
