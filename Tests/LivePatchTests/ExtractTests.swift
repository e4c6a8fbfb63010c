import Diagnostics
import Foundation
import Testing

@testable import ELF
@testable import LivePatch

/// Packing against the symbols alone, as `extract` writes them.
@Suite struct ExtractTests {
  let fixture = ContainerFixture()

  private func symbol(_ name: String, _ value: UInt64, _ info: UInt8 = 0x12, size: UInt64 = 8) -> ELFSymbol {
    ELFSymbol(name: name, value: value, size: size, info: info, other: 0)
  }

  /// The whole worked example of the libpulp container format, but for the half of the id that is the description's MD4:
  /// `printf ... | openssl md4` of the description below.
  @Test func theWorkedExampleFromDescriptionToSection() throws {
    try fixture.compile(
      "char *ulpr_banner; void new_banner_set(char *text) { ulpr_banner = text; }", "libaccess_livepatch1.so",
      ["-Wl,--build-id=0x9bd0bbe39f3a333b9e1892fca39f07ce00112233", "-Wl,--section-start=.bss=0x4010", "-Wl,-z,noseparate-code"])
    let text = "libaccess_livepatch1.so\n@libaccess.so.0.json\nbanner_set:new_banner_set\n#banner:ulpr_banner:0000000000004008:0000000000004018\n"
    let description = try fixture.describe(text)
    var options = Packer.Options()
    options.extract = ExtractedSymbols(
      path: "libaccess.so.0.json", name: "libaccess.so.0", buildID: BuildID(hexadecimal: "b810226a02f6843bc4ae636d298f7ef6e69ecd30")!,
      symbols: [symbol("banner_set", 0x112e), symbol("banner", 0x4008, 0x01), symbol("puts", 0)])
    #expect(try ELFFile(path: fixture.path("libaccess_livepatch1.so")).symbol(named: "ulpr_banner")?.value == 0x4018)
    // The target is not opened: it need not be there.
    try fixture.write([0x7b], "libaccess.so.0.json")
    _ = try Packer.pack(descriptionPath: description, options)
    for (section, example) in [(".ulp", workedExample), (".ulp.rev", workedRevertExample)] {
      try fixture.run("objcopy", ["--dump-section", "\(section)=\(fixture.path("dumped"))", fixture.path("libaccess_livepatch1.so"), "/dev/null"])
      var expected = example
      expected.replaceSubrange(17..<33, with: digest)
      #expect(try fixture.bytes("dumped") == expected, "\(section)")
    }
    #expect(MD4.digest(Array(text.utf8)) == digest)
  }

  /// MD4 of that description, by another program.
  private let digest: [UInt8] = hexBytes("8caf07b2ff092dcd6bcc94efab5b01b9")

  @Test func undefinedAndRepeatedSymbols() throws {
    _ = try fixture.build(description: "fix.so\n@list.json\ndozen:new_dozen\n#%depth:ulpr_depth\n#banner_length:ulpr_banner_length\n")
    try fixture.write([0x7b], "list.json")
    var options = Packer.Options()
    func pack(_ symbols: [ELFSymbol]) -> Result<PackResult, CodedError> {
      options.extract = ExtractedSymbols(path: "list.json", name: "dir/libdozen.so.1", buildID: BuildID([1, 2, 3])!, symbols: symbols)
      do { return .success(try Packer.pack(descriptionPath: fixture.path("fix.dsc"), options)) } catch { return .failure(error) }
    }
    let all = [symbol("dozen", 0), symbol("dozen", 0x1000), symbol("dozen", 0x1000, 2), symbol("depth", 0, 0x16, size: 4), symbol("banner_length", 0x4000, 0x11)]
    let result = try pack(all).get()
    #expect(result.metadata.targetName == "libdozen.so.1" && result.metadata.units[0].oldAddress == 0x1000)
    #expect(result.metadata.references.map(\.targetOffset) == [0, 0x4000], "a thread-local variable at 0")
    #expect(result.warnings.contains { $0.contains("symbols only") })
    func code(_ symbols: [ELFSymbol]) -> ErrorCode? {
      if case .failure(let error) = pack(symbols) { error.code } else { nil }
    }
    #expect(code(Array(all.dropFirst(3))) == .targetFunctionMissing)
    #expect(code(all.map { $0.name == "dozen" ? symbol("dozen", 0x1000, 0x1a) : $0 }) == .entryIndirect)
    #expect(code([symbol("dozen", 1, 2), symbol("dozen", 2, 2)] + all.suffix(2)) == .targetFunctionAmbiguous)
    #expect(code([symbol("depth", 0, 0x16, size: 0)] + all.filter { $0.name != "depth" }) == .targetFunctionMissing, "undefined")
  }

  @Test func everySymbolIsExtractedInReverseOrder() throws {
    _ = try fixture.build()
    guard case .record(let members) = try SymbolExtract.record(of: fixture.path("libdozen.so.1")),
      case .list(let symbols)? = members.first(where: { $0.name == "symbols" })?.value
    else {
      Issue.record("no symbols")
      return
    }
    let names = symbols.compactMap { symbol -> String? in
      guard case .record(let members) = symbol, case .text(let name)? = members.first?.value else { return nil }
      return name
    }
    let file = try ELFFile(path: fixture.path("libdozen.so.1"))
    var expected: [String] = []
    for table in [try file.dynamicSymbols(), try file.staticSymbols()] {
      expected += (1..<table.count).map { table.name(of: table[$0]) }.reversed().filter { !$0.isEmpty }
    }
    #expect(names == expected && names.filter { $0 == "dozen" }.count == 2)
  }
}
