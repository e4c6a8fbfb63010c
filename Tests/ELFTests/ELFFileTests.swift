import Diagnostics
import Foundation
import Testing

@testable import ELF

@Suite struct ELFFileTests {
  let fixture = Fixture()
  func library(_ extra: [String] = [], compiler: String = "gcc") throws -> ELFFile {
    try ELFFile(path: fixture.compile(librarySource, "libsample.so", libraryOptions + extra, compiler: compiler))
  }

  @Test func headersNamesAndIdentity() throws {
    let file = try library(["-lm"])
    #expect(file.header.type == 3)
    #expect(try file.soname() == "libsample.so.1")
    #expect(try file.needed().contains("libm.so.6"))
    #expect(try file.interpreter() == nil)
    #expect(file.tlsSegment?.memorySize == 4)
    var facts = stat()
    stat(file.path, &facts)
    #expect(file.identity == FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino)))
    #expect(file.bytes.size == Int(facts.st_size))
    #expect(file.bytes.owner == getuid())
  }

  @Test func buildIDIsWhatReadelfSays() throws {
    let file = try library()
    let id = try file.requireBuildID()
    #expect(id.bytes.count == 20)
    #expect(try fixture.run("readelf", ["-n", file.path]).contains("Build ID: \(id)"))
    #expect(BuildID(hexadecimal: id.description) == id)
  }

  @Test func aFileWithoutBuildIDSaysSo() throws {
    let file = try ELFFile(path: fixture.compile("int x;", "plain.so", ["-shared", "-Wl,--build-id=none"]))
    #expect(try file.buildID() == nil)
    let error = #expect(throws: CodedError.self) { try file.requireBuildID() }
    #expect(error?.code == .elfNoBuildID)
  }

  @Test(arguments: ["gnu", "sysv", "both"]) func dynamicSymbolsByEveryHashStyle(_ style: String) throws {
    let file = try library(["-Wl,--hash-style=\(style)"])
    let listed = try fixture.run("readelf", ["-W", "--dyn-syms", file.path])
    let table = try file.dynamicSymbols()
    #expect(listed.contains("contains \(table.count) entries"))
    let triple = try #require(table.symbol(named: "triple"))
    #expect(triple.kind == .function && triple.binding == .global && triple.isExported)
    #expect(listed.contains(String(format: "%016llx", triple.value)))
    #expect(table.symbol(named: "hidden_helper") == nil)
    #expect(table.symbol(named: "invisible") == nil)
    #expect(table.symbol(named: "puts") == nil, "undefined symbols are not found")
    #expect(table.undefined.contains { $0.name == "puts" })
    #expect(table.symbol(named: "selected")?.kind == .indirectFunction)
    #expect(table.symbol(named: "counter")?.kind == .tls)
    #expect(table.symbol(named: "tripl") == nil && table.symbol(named: "triple2") == nil && table.symbol(named: "") == nil)
    #expect(table.symbol(named: "triple\0") == nil)
  }

  @Test func staticSymbolsReachStaticFunctions() throws {
    let file = try library()
    let helper = try #require(try file.symbol(named: "hidden_helper"))
    #expect(helper.binding == .local && helper.kind == .function)
    #expect(try file.symbol(named: "invisible")?.binding == .local, "the linker makes hidden symbols local")
    #expect(try file.function(containing: LinkAddress(helper.value + 1))?.name == "hidden_helper")
    #expect(try file.function(containing: LinkAddress(helper.value + helper.size))?.name != "hidden_helper")
    try fixture.run("strip", [file.path])
    let stripped = try ELFFile(path: file.path)
    #expect(try stripped.symbol(named: "hidden_helper") == nil)
    #expect(try stripped.symbol(named: "triple") != nil)
  }

  @Test func patchableEntriesLeadToTheirFunctions() throws {
    let file = try library()
    let entries = try #require(try file.patchableEntries())
    let triple = try #require(try file.symbol(named: "triple"))
    #expect(entries.entry(leadingTo: triple.value) == triple.value - 14)
    let code = try file.read(at: LinkAddress(triple.value - 14), count: 16)
    #expect(code == [UInt8](repeating: 0x90, count: 16))
    let plain = try ELFFile(path: fixture.compile("int f(void){return 1;}", "plain.so", ["-shared", "-fPIC"]))
    #expect(try plain.patchableEntries() == nil)
  }

  /// Linkers other than GNU ld leave zeros in the section: the relocation then has the address.
  @Test func patchableEntriesComeFromRelocationsWhereTheSectionHoldsZeros() throws {
    let file = try library()
    let before = try #require(try file.patchableEntries()).addresses
    let section = try #require(try file.section(named: "__patchable_function_entries"))
    var bytes = try fixture.bytes(file.path)
    for index in Int(section.offset)..<Int(section.offset + section.size) { bytes[index] = 0 }
    let zeroed = try ELFFile(path: fixture.write(bytes, "zeroed.so"))
    #expect(try zeroed.patchableEntries()?.addresses == before)
    #expect(!before.isEmpty)
  }

  @Test func theDefaultVersionOfASymbolWins() throws {
    let source = """
      int old_answer(void) { return 1; } int new_answer(void) { return 2; }
      __asm__(".symver old_answer,answer@V1"); __asm__(".symver new_answer,answer@@V2");
      """
    try "V1 { global: answer; local: *; }; V2 { } V1;".write(toFile: fixture.path("map"), atomically: true, encoding: .utf8)
    let path = try fixture.compile(source, "versions.so", ["-shared", "-fPIC", "-Wl,--version-script=" + fixture.path("map")])
    let file = try ELFFile(path: path)
    #expect(try file.dynamicSymbols().all(named: "answer").count == 2)
    #expect(try file.dynamicSymbols().symbol(named: "answer")?.value == file.staticSymbols().symbol(named: "new_answer")?.value)
  }

  @Test func constructorsAreListedAndTheToolchainsOwnAreMarked() throws {
    let file = try library()
    let all = try file.constructors()
    #expect(all.filter { !$0.isToolchain }.map(\.name) == ["wake"])
    #expect(all.contains { $0.name == "frame_dummy" })
    let wake = try #require(all.last)
    try fixture.run("strip", [file.path])
    let stripped = try ELFFile(path: file.path).constructors()
    #expect(stripped.filter { !$0.isToolchain }.map(\.address) == [wake.address])
  }

  @Test func sectionsAreWhatReadelfLists() throws {
    let file = try library()
    let listed = try fixture.run("readelf", ["-SW", file.path])
    #expect(listed.contains("There are \(try file.sections().count) section headers"))
    for section in try file.sections() where section.index > 0 { #expect(listed.contains(" \(section.name) ")) }
    let zeros = try #require(try file.section(named: ".bss"))
    #expect(try file.contents(of: zeros).isEmpty)
  }

  @Test func separateDebugInformationCanBeRead() throws {
    let file = try library(["-g"])
    try fixture.run("objcopy", ["--only-keep-debug", file.path, fixture.path("d.debug")])
    let debug = try ELFFile(path: fixture.path("d.debug"))
    #expect(try debug.buildID() == file.buildID())
    #expect(try debug.symbol(named: "hidden_helper") != nil)
  }

  @Test func whatIsNoELFFileIsRefusedByCode() throws {
    func code(_ path: String) -> ErrorCode? {
      do throws(CodedError) {
        _ = try ELFFile(path: path)
        return nil
      } catch { return error.code }
    }
    #expect(code("/nonexistent/file") == .fileUnreadable)
    #expect(code(fixture.directory) == .fileUnreadable)
    #expect(code("/dev/null") == .fileUnreadable)
    #expect(code(try fixture.write([], "empty")) == .elfNotELF)
    #expect(code(try fixture.write(Array("#!/bin/sh\n".utf8), "script")) == .elfNotELF)
    var bytes = try fixture.bytes(library().path)
    #expect(code(try fixture.write(Array(bytes[..<40]), "short")) == .elfMalformed)
    bytes[4] = 1
    #expect(code(try fixture.write(bytes, "32-bit")) == .elfUnsupported)
    bytes[4] = 2
    bytes[5] = 2
    #expect(code(try fixture.write(bytes, "big-endian")) == .elfUnsupported)
    bytes[5] = 1
    bytes[18] = 183
    #expect(code(try fixture.write(bytes, "aarch64")) == .elfUnsupported)
    mkfifo(fixture.path("fifo"), 0o600)
    #expect(code(fixture.path("fifo")) == .fileUnreadable)
  }
}
