import CElf
import Diagnostics

/// The symbol versions of an object (LSB, "Symbol Versioning"): what it defines, and what it needs from which library.
public struct SymbolVersions: Sendable {
  /// A version that another library must define.
  public struct Need: Hashable, Sendable {
    /// The library's name as in DT_NEEDED.
    public let library: String
    public let version: String
    /// The loader only warns when it is not there.
    public let isWeak: Bool
  }

  /// Names of the versions the object defines, without that of the object itself.
  public fileprivate(set) var defined: [UInt16: String] = [:]
  public fileprivate(set) var needed: [UInt16: Need] = [:]
  /// The object defines versions at all. One without is taken as it is, whatever version is asked for.
  public var definesAny: Bool { !defined.isEmpty }

  public init() {}

  /// More of anything than this has no honest object.
  static let limit = 4096
}

extension LoadedView {
  /// DT_VERDEF and DT_VERNEED. Both are lists linked by offsets, walked at most `limit` steps forward. `names` has the
  /// strings of the dynamic section.
  func symbolVersions(_ dynamic: DynamicSection, names: SymbolTable) throws(CodedError) -> SymbolVersions {
    var versions = SymbolVersions()
    if let pointer = dynamic.value(DT_VERDEF), let place = address(pointer) {
      try readDefinitions(place, names.strings, &versions)
    }
    if let pointer = dynamic.value(DT_VERNEED), let place = address(pointer) {
      try readNeeds(place, names.strings, &versions)
    }
    return versions
  }

  /// Elf64_Verdef: version, flags, index, number of names, hash, first name, next. Elf64_Verdaux: name, next.
  private func readDefinitions(_ first: UInt64, _ strings: [UInt8], _ versions: inout SymbolVersions) throws(CodedError) {
    var window = Window(self)
    var place = first
    for _ in 0..<SymbolVersions.limit {
      let entry = try window.read(place, count: 20)
      let flags: UInt16 = entry.integer(at: 2) ?? 0
      let index: UInt16 = entry.integer(at: 4) ?? 0
      let names = try window.read(place &+ UInt64(entry.integer(at: 12, as: UInt32.self) ?? 0), count: 8)
      if flags & UInt16(VER_FLG_BASE) == 0 {
        versions.defined[index & 0x7fff] = strings.string(at: Int(names.integer(at: 0, as: UInt32.self) ?? 0))
      }
      let next = UInt64(entry.integer(at: 16, as: UInt32.self) ?? 0)
      if next == 0 { return }
      place &+= next
    }
    throw broken("its list of versions does not end")
  }

  /// Elf64_Verneed: version, number of entries, file, first entry, next. Elf64_Vernaux: hash, flags, index, name, next.
  private func readNeeds(_ first: UInt64, _ strings: [UInt8], _ versions: inout SymbolVersions) throws(CodedError) {
    var window = Window(self)
    var place = first
    var steps = 0
    while true {
      let entry = try window.read(place, count: 16)
      let library = strings.string(at: Int(entry.integer(at: 4, as: UInt32.self) ?? 0)) ?? ""
      var own = place &+ UInt64(entry.integer(at: 8, as: UInt32.self) ?? 0)
      while true {
        steps += 1
        guard steps <= SymbolVersions.limit else { throw broken("its list of versions does not end") }
        let need = try window.read(own, count: 16)
        let flags: UInt16 = need.integer(at: 4) ?? 0
        let name = strings.string(at: Int(need.integer(at: 8, as: UInt32.self) ?? 0)) ?? ""
        versions.needed[(need.integer(at: 6) ?? 0) & 0x7fff] = SymbolVersions.Need(
          library: library, version: name, isWeak: flags & UInt16(VER_FLG_WEAK) != 0)
        let next = UInt64(need.integer(at: 12, as: UInt32.self) ?? 0)
        if next == 0 { break }
        own &+= next
      }
      let next = UInt64(entry.integer(at: 12, as: UInt32.self) ?? 0)
      if next == 0 { return }
      place &+= next
    }
  }
}

/// Reads a list whose entries mostly follow one another, a page at a time.
private struct Window {
  private let view: LoadedView
  private var start: UInt64 = 0
  private var bytes: [UInt8] = []

  init(_ view: LoadedView) { self.view = view }

  mutating func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    if let found = held(address, count) { return found }
    // To the end of the page: the next one may not be mapped.
    if let page = try? view.memory.read(address, count: Int(4096 - address % 4096)) {
      (start, bytes) = (address, page)
      if let found = held(address, count) { return found }
    }
    return try view.memory.read(address, count: count)
  }

  private func held(_ address: UInt64, _ count: Int) -> [UInt8]? {
    guard address >= start, address - start <= UInt64(bytes.count), count <= bytes.count - Int(address - start) else { return nil }
    let first = Int(address - start)
    return Array(bytes[first..<first + count])
  }
}

extension SymbolTable {
  /// The number of the symbol's version: 0 local, 1 none.
  public func versionIndex(of entry: SymbolEntry) -> UInt16 {
    (versions.integer(at: entry.index * 2, as: UInt16.self) ?? 1) & 0x7fff
  }

  /// Whether a reference to `name`, of a version or of any, finds a definition here as glibc looks for it: a definition
  /// without version serves every reference.
  public func defines(_ name: String, version: String?, _ own: SymbolVersions) -> Bool {
    all(named: name).contains { entry in
      guard entry.isExported else { return false }
      guard let version, own.definesAny else { return true }
      let defined = own.defined[versionIndex(of: entry)]
      return defined == version || (defined == nil && !isOldVersion(entry))
    }
  }
}
