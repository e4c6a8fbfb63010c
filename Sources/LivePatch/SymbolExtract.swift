import Diagnostics
import ELF

/// All symbols of a library as values: enough to pack a patch where the library itself is not at hand.
public enum SymbolExtract {
  /// `name`, `buildid`, and `symbols` with `name`, `offset`, `size`, `st_info`, `st_other`, in the order of SUSE's `extract`:
  /// `.dynsym` from its end, then `.symtab`, then those of the debug file. Symbols without name are left out.
  ///
  /// - Parameter debugPath: separate debug information; nil: where distributions put it, if the file itself is stripped.
  public static func record(of path: String, debugPath: String? = nil) throws(CodedError) -> DiagnosticValue {
    let file = try ELFFile(path: path)
    let id = try file.requireBuildID()
    var tables = [try file.dynamicSymbols(), try file.staticSymbols()]
    var debug: ELFFile?
    if let debugPath {
      debug = try file.debugFile(at: debugPath)
    } else if tables[1].count <= 1 {
      debug = file.debugFile()
    }
    if let debug { tables.append(try debug.staticSymbols()) }
    var symbols: [DiagnosticValue] = []
    for table in tables {
      var index = table.count - 1
      while index > 0 {
        let symbol = table.symbol(table[index])
        if !symbol.name.isEmpty { symbols.append(record(symbol)) }
        index -= 1
      }
    }
    try file.bytes.requireUnchanged()
    let name = path.utf8.lastIndex(of: 0x2f).map { String(path[path.utf8.index(after: $0)...]) } ?? path
    return .record([
      .init("name", .text(name)), .init("buildid", .text(id.description)), .init("symbols", .list(symbols)),
      .init("path", .text(path)), .init("debug_file", .text(debug?.path ?? "")),
    ])
  }

  private static func record(_ symbol: ELFSymbol) -> DiagnosticValue {
    .record([
      .init("name", .text(symbol.name)), .init("offset", .integer(Int64(bitPattern: symbol.value))),
      .init("size", .integer(Int64(bitPattern: symbol.size))), .init("st_info", .integer(Int64(symbol.info))),
      .init("st_other", .integer(Int64(symbol.other))),
    ])
  }
}
