import Diagnostics
import Foundation
import Testing

@testable import ELF

/// Asks a file everything; every answer and every coded error is fine, a trap, hang or huge allocation is not.
private func exercise(_ path: String) {
  func attempt(_ body: () throws(CodedError) -> Void) { do throws(CodedError) { try body() } catch {} }
  attempt { () throws(CodedError) in
    let file = try ELFFile(path: path)
    attempt { () throws(CodedError) in _ = try file.buildID() }
    attempt { () throws(CodedError) in _ = try file.soname() }
    attempt { () throws(CodedError) in _ = try file.needed() }
    attempt { () throws(CodedError) in _ = try file.interpreter() }
    attempt { () throws(CodedError) in _ = try file.patchableEntries() }
    attempt { () throws(CodedError) in _ = try file.constructors() }
    for table in [try? file.dynamicSymbols(), try? file.staticSymbols()] {
      guard let table else { continue }
      _ = table.undefined
      _ = table.symbol(named: "triple")
      _ = table.function(containing: 0x1130)
    }
    attempt { () throws(CodedError) in
      for section in try file.sections().prefix(100) { attempt { () throws(CodedError) in _ = try file.contents(of: section) } }
    }
  }
}

@Suite struct HostileFileTests {
  let fixture = Fixture()
  func small() throws -> [UInt8] {
    let options = [
      "-shared", "-fPIC", "-nostdlib", "-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1", "-Wl,-z,noseparate-code",
    ]
    return try fixture.bytes(fixture.compile("int triple(int x) { return x * 3; }", "small.so", options))
  }

  @Test func everyAlteredByteOfTheTables() throws {
    let good = try small()
    let file = try ELFFile(path: fixture.write(good, "good.so"))
    // Headers at the front (ELF header, program headers, notes, hash, symbols, dynamic section) and the section table.
    let dynamic = try #require(try file.section(named: ".dynamic"))
    var places = Array(0..<0x340) + Array(Int(dynamic.offset)..<Int(dynamic.offset + dynamic.size))
    places += Array(Int(file.header.sectionHeaderOffset)..<good.count)
    for place in places {
      for value: UInt8 in [0, 0x7f, 0xff] where good[place] != value {
        var bytes = good
        bytes[place] = value
        exercise(try fixture.write(bytes, "altered.so"))
      }
    }
  }

  @Test func everyEightBytesSetToHugeNumbers() throws {
    let good = try small()
    for place in stride(from: 16, to: good.count - 8, by: 8) {
      for value: UInt64 in [.max, 1 << 60, 1 << 63, UInt64(good.count)] {
        var bytes = good
        withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(place..<place + 8, with: $0) }
        exercise(try fixture.write(bytes, "huge.so"))
      }
    }
  }

  @Test func everyTruncation() throws {
    let good = try small()
    for length in stride(from: 0, to: good.count, by: 7) { exercise(try fixture.write(Array(good[..<length]), "cut.so")) }
  }

  @Test func aSmallFileClaimingManySymbolsIsRefusedWithoutReadingThem() throws {
    var bytes = try small()
    let file = try ELFFile(path: fixture.write(bytes, "good.so"))
    let symtab = try #require(try file.sections().first { $0.name == ".symtab" })
    let size = Int(file.header.sectionHeaderOffset) + symtab.index * 64 + 32
    withUnsafeBytes(of: (UInt64(1) << 60).littleEndian) { bytes.replaceSubrange(size..<size + 8, with: $0) }
    let hostile = try ELFFile(path: fixture.write(bytes, "many.so"))
    let error = #expect(throws: CodedError.self) { try hostile.staticSymbols() }
    #expect(error?.code == .elfMalformed)
  }

  @Test func aFileThatIsCutWhileOpenIsAnErrorNotASignal() throws {
    let path = try fixture.write(try small(), "shrinking.so")
    let file = try ELFFile(path: path)
    truncate(path, 100)
    let error = #expect(throws: CodedError.self) { try file.sections() }
    #expect(error?.code == .elfMalformed)
  }

  @Test func symbolsThatShareOneHugeNameAreCheap() {
    let names = [UInt8](repeating: 0x61, count: 1 << 20) + [0]
    var symbols = [UInt8](repeating: 0, count: 24)
    for index in 0..<50_000 {
      symbols.append(integer: UInt32(index % 1000 + 1))
      symbols += [0x12, 0, 1, 0] + [UInt8](repeating: 0, count: 16)
    }
    let table = SymbolTable(symbols: symbols, strings: names)
    let clock = ContinuousClock()
    let spent = clock.measure { #expect(table.symbol(named: "b") == nil && table.symbol(named: "aaaa") == nil) }
    #expect(spent < .seconds(5))
  }
}
