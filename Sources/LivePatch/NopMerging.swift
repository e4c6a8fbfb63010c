import Diagnostics
import ELF

/// Merging the two one-byte nops of every patchable entry into one instruction (`90 90` becomes `66 90`), so that no thread
/// can ever stand between them: what SUSE's `post` does to a library after linking.
public struct NopMerging: Sendable {
  public struct Entry: Sendable {
    public let name: String
    public let address: UInt64
  }

  public let path: String
  /// Functions whose nops were merged.
  public internal(set) var merged: [Entry] = []
  /// How many had one instruction already.
  public internal(set) var already = 0
  /// Places with nops that were left alone, and why.
  public internal(set) var skipped: [(address: UInt64, reason: String)] = []
  public internal(set) var warnings: [String] = []

  /// Rewrites the file, or leaves it as it is and says so when there is nothing to do. The new file takes the old one's
  /// place in one step, so running programs keep what they have mapped. Layout, build ID, mode, owner, attributes stay.
  ///
  /// Throws `entry.not_prepared` when the file has no list of patchable entries: bytes alone prove nothing.
  public static func rewrite(_ path: String) throws(CodedError) -> NopMerging {
    let file = try ELFFile(path: path)
    guard let entries = try file.patchableEntries(), !entries.addresses.isEmpty else {
      throw CodedError(
        .entryNotPrepared, "\(printable(path)) has no section __patchable_function_entries",
        hint: "build it with -fpatchable-function-entry=16,14, and do not strip that section", data: ["path": .text(path)])
    }
    var result = NopMerging(path: resolvedPath(path))
    var image = try file.bytes.readAll()
    let functions = FunctionStarts(file)
    for entry in entries.addresses { try result.merge(entry, file, functions, &image) }
    if !result.merged.isEmpty {
      try file.bytes.replace(with: image)
      if file.bytes.otherNames > 0 {
        result.warnings.append("the file has \(file.bytes.otherNames) other names (hard links), which keep the old contents")
      }
    }
    return result
  }

  private mutating func merge(_ entry: UInt64, _ file: ELFFile, _ functions: FunctionStarts, _ image: inout [UInt8]) throws(CodedError) {
    guard let function = functions.first(from: entry, within: 64) else {
      return skipped.append((entry, "no symbol says where the function begins"))
    }
    guard let code = try? file.read(at: LinkAddress(function.address), count: 6) else {
      return skipped.append((entry, "its code is not in the file"))
    }
    let point = function.address + (code.starts(with: EntryForm.endbr64) ? 4 : 0)
    let bytes = Array(code[Int(point - function.address)...].prefix(2))
    if bytes == [0x66, 0x90] { return already += 1 }
    guard bytes == [0x90, 0x90] else {
      return skipped.append((entry, "\(printable(function.name)) does not begin with two nops"))
    }
    guard point / 4096 == (point + 1) / 4096 else {
      return skipped.append((entry, "the nops of \(printable(function.name)) are on two pages"))
    }
    guard let place = try file.fileOffset(of: LinkAddress(point), executable: true), Int(place) + 1 < image.count else {
      return skipped.append((entry, "\(printable(function.name)) is not in an executable segment"))
    }
    image[Int(place)] = 0x66
    merged.append(Entry(name: function.name, address: function.address))
  }

  public var record: DiagnosticValue {
    func place(_ address: UInt64) -> DiagnosticValue { .integer(Int64(bitPattern: address)) }
    return .record([
      .init("path", .text(path)), .init("changed", .flag(!merged.isEmpty)),
      .init("merged", .list(merged.map { .record([.init("name", .text($0.name)), .init("address", place($0.address))]) })),
      .init("already", .integer(Int64(already))),
      .init("skipped", .list(skipped.map { .record([.init("address", place($0.address)), .init("reason", .text($0.reason))]) })),
      .init("warnings", .list(warnings.map { .text($0) })),
    ])
  }
}

/// Where functions begin, by all the symbols there are.
struct FunctionStarts {
  private let sorted: [NopMerging.Entry]

  init(_ file: ELFFile) {
    var names: [UInt64: String] = [:]
    func add(_ table: SymbolTable?) {
      guard let table else { return }
      table.forEachDefined { entry in
        if entry.kind == .function, names[entry.value] == nil { names[entry.value] = table.name(of: entry) }
      }
    }
    add(try? file.dynamicSymbols())
    let own = try? file.staticSymbols()
    add(own)
    if (own?.count ?? 0) <= 1 { add(try? file.debugFile()?.staticSymbols()) }
    sorted = names.map { NopMerging.Entry(name: $0.value, address: $0.key) }.sorted { $0.address < $1.address }
  }

  /// The first function that begins at `address` or up to `distance` bytes behind it.
  func first(from address: UInt64, within distance: UInt64) -> NopMerging.Entry? {
    var low = 0
    var high = sorted.count
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].address < address { low = middle + 1 } else { high = middle }
    }
    guard low < sorted.count, sorted[low].address - address <= distance else { return nil }
    return sorted[low]
  }
}
