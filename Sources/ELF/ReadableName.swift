import CDw
import Glibc

/// Names of C++ as people write them: `shop::Till::add(int)` for `_ZN4shop4Till3addEi`.
///
/// Compared without the blanks that mean nothing. A name may be written without its parameters, and without the return type
/// that functions made from templates have.
public struct ReadableName: Sendable, Equatable {
  private let bytes: [UInt8]
  var length: Int { bytes.count }

  public init(written text: String) { bytes = ReadableName.normal(Array(text.utf8)) }

  /// Nil for a symbol that is not of C++, and for the parts that compilers make of functions.
  public init?(mangled symbol: String) {
    guard let text = ul_demangle(symbol) else { return nil }
    defer { free(text) }
    let found = Array(UnsafeBufferPointer(start: text, count: strlen(text))).map { UInt8(bitPattern: $0) }
    if ReadableName.places(of: Array(" [clone ".utf8), in: found).first != nil { return nil }
    bytes = ReadableName.normal(found)
  }

  /// Whether this name, of a symbol, is all of a written one, or has in addition a return type or parameters.
  public func isMeant(by written: ReadableName) -> Bool {
    ReadableName.places(of: written.bytes, in: bytes).contains { place in
      let end = place + written.bytes.count
      let beginsThere = place == 0 || Array(" *&>".utf8).contains(bytes[place - 1])
      return beginsThere && (end == bytes.count || bytes[end] == UInt8(ascii: "("))
    }
  }

  private static func isPartOfWord(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "_") || byte >= 0x80 || (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
  }

  /// Only blanks between two words stay, one each.
  private static func normal(_ text: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var hasBlank = false
    for byte in text {
      if byte == 0x20 || byte == 0x09 {
        hasBlank = true
        continue
      }
      if hasBlank, let last = result.last, isPartOfWord(last), isPartOfWord(byte) { result.append(0x20) }
      hasBlank = false
      result.append(byte)
    }
    return result
  }

  private static func places(of part: [UInt8], in whole: [UInt8]) -> [Int] {
    guard !part.isEmpty, part.count <= whole.count else { return [] }
    return (0...(whole.count - part.count)).filter { whole[$0] == part[0] && whole[$0..<($0 + part.count)].elementsEqual(part) }
  }
}

/// The symbols of C++ functions and variables, by the names that people write.
public struct ReadableNames {
  private let all: [(name: ReadableName, symbol: ELFSymbol)]

  /// What all names together may take; a library has a hundredth of it.
  private static let limit = 256 << 20

  public init(_ symbols: some Sequence<ELFSymbol>) {
    var found: [(name: ReadableName, symbol: ELFSymbol)] = []
    var total = 0
    for symbol in symbols where total < ReadableNames.limit {
      guard let name = ReadableName(mangled: symbol.name) else { continue }
      total += name.length
      found.append((name, symbol))
    }
    all = found
  }

  /// The symbols that a written name means: those of exactly this name if there are any, else those that go on behind it.
  /// Of several at one place the first.
  public func symbols(meantBy text: String) -> [ELFSymbol] {
    let written = ReadableName(written: text)
    let exact = all.filter { $0.name == written }
    let found = exact.isEmpty ? all.filter { $0.name.isMeant(by: written) } : exact
    var places: Set<UInt64> = []
    return found.map(\.symbol).filter { places.insert($0.value).inserted }
  }
}
