import CElf

/// One symbol without its name: what costs nothing to decode (ELF specification, "Symbol Table").
public struct SymbolEntry: Sendable, Equatable {
  /// Place in its table.
  public let index: Int
  public let nameOffset: Int
  public let value: UInt64
  public let size: UInt64
  let info: UInt8
  let other: UInt8
  /// Section index; 0 undefined, 0xfff1 absolute.
  public let section: UInt16

  public var kind: SymbolKind { SymbolKind(rawValue: info & 15) ?? .other }
  public var binding: SymbolBinding { SymbolBinding(rawValue: info >> 4) ?? .other }
  public var visibility: SymbolVisibility { SymbolVisibility(rawValue: other & 3) ?? .normal }
  public var isDefined: Bool { section != UInt16(SHN_UNDEF) }
  /// Code: a function or a GNU indirect function.
  public var isCode: Bool { kind == .function || kind == .indirectFunction }
  /// Other objects can find it (when it is in a `.dynsym`).
  public var isExported: Bool {
    isDefined && binding != .local && binding != .other && (visibility == .normal || visibility == .protected)
  }
}

public enum SymbolKind: UInt8, Sendable {
  case none = 0
  case object, function, section, file, common, tls
  /// The corresponding C constant is STT_GNU_IFUNC: the value is the address of a resolver.
  case indirectFunction = 10
  case other = 255
}

public enum SymbolBinding: UInt8, Sendable {
  case local = 0
  case global, weak
  /// The corresponding C constant is STB_GNU_UNIQUE.
  case unique = 10
  case other = 255
}

/// The corresponding C constant of `normal` is STV_DEFAULT.
public enum SymbolVisibility: UInt8, Sendable {
  case normal = 0
  case `internal`, hidden, protected
}

/// A symbol with its name.
@dynamicMemberLookup
public struct ELFSymbol: Sendable, Equatable {
  public let name: String
  public let entry: SymbolEntry
  public var address: LinkAddress { LinkAddress(entry.value) }
  public subscript<Value>(dynamicMember path: KeyPath<SymbolEntry, Value>) -> Value { entry[keyPath: path] }

  public init(name: String, entry: SymbolEntry) {
    self.name = name
    self.entry = entry
  }

  /// A symbol that was written down somewhere else than in a symbol table: with `st_info` and `st_other`, but without its
  /// section. One at 0 is taken for undefined, unless it is a thread-local variable, which may be there.
  public init(name: String, value: UInt64, size: UInt64, info: UInt8, other: UInt8) {
    let isDefined = value != 0 || (SymbolKind(rawValue: info & 15) == .tls && size > 0)
    self.name = name
    entry = SymbolEntry(
      index: 0, nameOffset: 0, value: value, size: size, info: info, other: other,
      section: UInt16(isDefined ? SHN_ABS : SHN_UNDEF))
  }

  /// `st_info`: type and binding.
  public var info: UInt8 { entry.info }
  /// `st_other`: visibility.
  public var other: UInt8 { entry.other }
}

/// `.dynsym` or `.symtab` with its strings. Nothing is decoded until it is asked for; the two indexes are built on first use.
public final class SymbolTable {
  public static let entrySize = 24

  let symbols: [UInt8]
  let strings: [UInt8]
  /// Two bytes for each symbol of a versioned `.dynsym`: bit 15 marks a version that is not the default one.
  let versions: [UInt8]
  /// Number of symbols, including the empty one at 0.
  public let count: Int

  private var names: NameIndex?
  private var ranges: [FunctionRange]?

  /// Bytes of the table itself.
  var size: Int { symbols.count + strings.count + versions.count }

  /// A part of an entry behind the last whole one is ignored.
  public init(symbols: [UInt8], strings: [UInt8], versions: [UInt8] = []) {
    self.symbols = symbols
    self.strings = strings
    self.versions = versions
    count = symbols.count / SymbolTable.entrySize
  }

  /// The symbol at `index`, which must be less than `count`.
  public subscript(index: Int) -> SymbolEntry {
    precondition(index >= 0 && index < count)
    let base = index * SymbolTable.entrySize
    return SymbolEntry(
      index: index, nameOffset: Int(symbols.integer(at: base, as: UInt32.self) ?? 0),
      value: symbols.integer(at: base + 8) ?? 0, size: symbols.integer(at: base + 16) ?? 0,
      info: symbols[base + 4], other: symbols[base + 5], section: symbols.integer(at: base + 6) ?? 0)
  }

  /// The name, at most 64 KiB of it; empty when the table's offset is wrong.
  public func name(of entry: SymbolEntry) -> String { strings.string(at: entry.nameOffset) ?? "" }

  public func symbol(_ entry: SymbolEntry) -> ELFSymbol { ELFSymbol(name: name(of: entry), entry: entry) }

  /// Whether the symbol belongs to an old version (`name@V`), which only programs linked long ago still use.
  public func isOldVersion(_ entry: SymbolEntry) -> Bool {
    (versions.integer(at: entry.index * 2, as: UInt16.self) ?? 0) & 0x8000 != 0
  }

  /// Every symbol with this name, in table order, undefined ones included.
  public func all(named name: String) -> [SymbolEntry] {
    let wanted = Array(name.utf8)
    guard !wanted.isEmpty, !wanted.contains(0), count > 1 else { return [] }
    if names == nil { names = NameIndex(self) }
    return names!.candidates(for: wanted).map { self[$0] }.filter { strings.hasString(wanted, at: $0.nameOffset) }
  }

  /// The source file that a local symbol comes from: the file symbol before it (gABI, STT_FILE).
  public func sourceFile(of entry: SymbolEntry) -> String? {
    guard entry.binding == .local, entry.index < count else { return nil }
    var index = entry.index
    while index > 0 {
      if self[index].kind == .file { return name(of: self[index]) }
      index -= 1
    }
    return nil
  }

  /// The defined symbol of this name, of the default version when there are several; nil when there is none.
  public func symbol(named name: String) -> ELFSymbol? {
    var best: SymbolEntry?
    for entry in all(named: name) where entry.isDefined {
      if best == nil || isOldVersion(best!) && !isOldVersion(entry) { best = entry }
    }
    return best.map { ELFSymbol(name: name, entry: $0) }
  }

  /// The function whose bytes contain the link address. Of several at one place the most visible one wins.
  public func function(containing address: UInt64) -> ELFSymbol? {
    if ranges == nil { ranges = functionRanges() }
    guard let range = FunctionRange.find(address, in: ranges!) else { return nil }
    return symbol(self[range.index])
  }

  /// Visits every defined symbol; cheap, because no name is decoded.
  public func forEachDefined(_ body: (SymbolEntry) -> Void) {
    var index = 1
    while index < count {
      let entry = self[index]
      if entry.isDefined { body(entry) }
      index += 1
    }
  }

  /// Every defined symbol with its name, but for those of files and sections.
  public var defined: [ELFSymbol] {
    var found: [ELFSymbol] = []
    forEachDefined { entry in
      if entry.kind != .file, entry.kind != .section, entry.nameOffset != 0 { found.append(symbol(entry)) }
    }
    return found
  }

  /// The code that the compiler split off the functions at a link address: `NAME.cold`, to which rare paths jump, and
  /// `NAME.part.N`, the rest of a function whose beginning is inlined elsewhere. In such code a thread is inside the function.
  public func splitParts(ofFunctionAt address: UInt64) -> [SymbolEntry] {
    var prefixes: [[UInt8]] = []
    forEachDefined { entry in
      guard entry.isCode, entry.value == address else { return }
      let name = Array(self.name(of: entry).utf8)
      if !name.isEmpty { prefixes += [name + Array(".cold".utf8), name + Array(".part.".utf8)] }
    }
    guard !prefixes.isEmpty else { return [] }
    var parts: [SymbolEntry] = []
    forEachDefined { entry in
      if entry.isCode, prefixes.contains(where: { strings.hasBytes($0, at: entry.nameOffset) }) { parts.append(entry) }
    }
    return parts
  }

  /// What this object takes from others: undefined symbols with a name, in table order.
  public var undefined: [ELFSymbol] {
    (min(1, count)..<count).lazy.map { self[$0] }.filter { !$0.isDefined && $0.nameOffset != 0 }.map { self.symbol($0) }
      .filter { !$0.name.isEmpty }
  }
}
