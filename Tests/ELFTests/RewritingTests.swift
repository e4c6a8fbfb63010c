import CLinux
import Diagnostics
import Foundation
import Testing

@testable import ELF

private func code(_ body: () throws(CodedError) -> Void) -> ErrorCode? {
  do {
    try body()
    return nil
  } catch { return error.code }
}

/// Files with other sections, and files put in the place of others.
@Suite struct RewritingTests {
  let fixture = Fixture()
  let names = [".ulp", ".ulp.rev"]

  private func library(_ options: [String] = []) throws -> String {
    try fixture.compile("int triple(int x) { return x * 3; }", "small.so", ["-shared", "-fPIC", "-Wl,--build-id=sha1"] + options)
  }

  private func add(_ contents: [UInt8], to path: String) throws(CodedError) -> Bool {
    try ELFFile(path: path).replaceSections(names, with: [ELFFile.NewSection(".ulp", contents)])
  }

  @Test func bytesThatNoSectionCoversStay() throws {
    let path = try library()
    let file = try ELFFile(path: path)
    // Behind the last section of the code, up to the end of its segment and further: a linker may put traps there.
    var covered = [UInt64(0)..<64 + UInt64(file.programHeaders.count) * 56]
    for section in try file.sections() where section.occupiesFile { covered.append(section.offset..<section.offset + section.size) }
    let gap = Int(try #require((UInt64(0x1000)..<0x3000).first { place in !covered.contains { $0.contains(place) } }))
    var bytes = try fixture.bytes(path)
    bytes[gap] = 0xcc
    _ = try fixture.write(bytes, "small.so")
    #expect(try add([1, 2, 3], to: path))
    let after = try fixture.bytes(path)
    #expect(after[gap] == 0xcc && Array(after[64..<gap]) == Array(bytes[64..<gap]))
    #expect(try ELFFile(path: path).section(named: ".ulp")?.size == 3)
  }

  @Test func theTableMayBeAnywhereAndHugeOnesAreNoLimit() throws {
    // Section headers in the middle: the table first, then what was behind it.
    let path = try library()
    #expect(try add([1], to: path))
    let once = try fixture.bytes(path)
    _ = try fixture.write(once + [UInt8](repeating: 0xaa, count: 100), "small.so")
    #expect(try add([1], to: path))
    #expect(try fixture.bytes(path) == once, "what lay behind the table belongs to nothing")

    var source = ".text\n.globl f\nf: ret\n"
    for index in 0..<65_310 { source += ".section s\(index),\"\",@progbits\n.byte 1\n" }
    try source.write(toFile: fixture.path("many.s"), atomically: true, encoding: .utf8)
    try fixture.run("gcc", ["-shared", "-nostdlib", "-Wl,--build-id=sha1", "-o", fixture.path("many.so"), fixture.path("many.s")])
    let many = fixture.path("many.so")
    let before = try ELFFile(path: many)
    #expect(try before.sections().count > 0xff00 && before.header.sectionHeaderCount == 0)
    #expect(try add([7, 7], to: many))
    let file = try ELFFile(path: many)
    #expect(try file.contents(of: #require(try file.section(named: ".ulp"))) == [7, 7])
    #expect(try file.section(named: "s65309") != nil && file.buildID() == before.buildID())
    #expect(try fixture.run("readelf", ["-SW", many]).contains(" .ulp "))
    #expect(try add([7, 7], to: many) == false)
    #expect(try ELFFile(path: many).replaceSections([".ulp", "s3"], with: []))
    #expect(try ELFFile(path: many).sections().count == before.sections().count - 1)
  }

  @Test func extendedAttributesStay() throws {
    let path = try library()
    let value: [UInt8] = [1, 2, 3]
    guard setxattr(path, "user.origin", value, value.count, 0) == 0 else { return }  // the file system has none
    setxattr(path, "security.ima", value, value.count, 0)
    #expect(try add([1], to: path))
    var found = [UInt8](repeating: 0, count: 8)
    #expect(getxattr(path, "user.origin", &found, 8) == 3 && Array(found.prefix(3)) == value)
    #expect(getxattr(path, "security.ima", &found, 8) < 0, "a hash of the old contents must not stay")
  }

  @Test func aFileThatSomebodyWritesMeanwhileIsLeftAlone() throws {
    let path = try library()
    let file = try ELFFile(path: path)
    _ = try file.sections()
    let handle = try #require(FileHandle(forUpdatingAtPath: path))
    try handle.seekToEnd()
    handle.write(Data([0]))
    try handle.close()
    let changed = try fixture.bytes(path)
    #expect(!file.bytes.isUnchanged)
    #expect(code { () throws(CodedError) in _ = try file.replaceSections(names, with: [.init(".ulp", [1])]) } == .fileChanged)
    #expect(try fixture.bytes(path) == changed)
    // Another file under the same name.
    let other = try ELFFile(path: path)
    try FileManager.default.moveItem(atPath: path, toPath: path + ".old")
    _ = try fixture.write(changed, "small.so")
    #expect(code { () throws(CodedError) in _ = try other.replaceSections(names, with: [.init(".ulp", [1])]) } == .fileChanged)
    #expect(try fixture.bytes(path) == changed)
    #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory).filter { $0.contains("ulpsh-") }.isEmpty)
  }

  @Test func hardLinksKeepTheOldContents() throws {
    let path = try library()
    let old = try fixture.bytes(path)
    link(path, fixture.path("second.so"))
    #expect(try ELFFile(path: path).bytes.otherNames == 1)
    #expect(try add([1], to: path))
    #expect(try fixture.bytes(fixture.path("second.so")) == old && fixture.bytes(path) != old)
  }

  @Test func hostileFilesAreRewrittenOrRefused() throws {
    let path = try library(["-nostdlib"])
    let good = try fixture.bytes(path)
    let file = try ELFFile(path: path)
    let allowed: Set<ErrorCode> = [.elfMalformed, .elfUnsupported, .elfNotELF, .fileUnwritable, .elfNoBuildID]
    let table = Int(file.header.sectionHeaderOffset)
    for place in Array(16..<64) + Array(stride(from: table, to: good.count, by: 1)) {
      for value: UInt8 in [0, 0x80, 0xff] where good[place] != value {
        var bytes = good
        bytes[place] = value
        _ = try fixture.write(bytes, "hostile.so")
        do throws(CodedError) {
          _ = try add([1, 2], to: fixture.path("hostile.so"))
          #expect(try ELFFile(path: fixture.path("hostile.so")).section(named: ".ulp")?.size == 2, "\(place)")
        } catch { #expect(allowed.contains(error.code), "byte \(place) = \(value): \(error)") }
      }
    }
  }

  @Test func newFilesAreWholeOrNotThere() throws {
    let path = fixture.path("new.json")
    let mask = umask(0o027)
    defer { umask(mask) }
    try FileWriting.write([1, 2], path: path)
    #expect(try FileBytes(path: path).mode == 0o640 && fixture.bytes(path) == [1, 2])
    chmod(path, 0o600)
    try FileWriting.write([3], path: path)
    #expect(try FileBytes(path: path).mode == 0o600 && fixture.bytes(path) == [3])
    #expect(code { () throws(CodedError) in try FileWriting.write([1], path: fixture.path("none/new")) } == .fileUnwritable)
  }
}

@Suite struct SymbolVersionTests {
  let fixture = Fixture()

  @Test func neededAndDefinedVersions() throws {
    try "V_1 { global: old; local: *; }; V_2 { global: both; } V_1;".write(
      toFile: fixture.path("map"), atomically: true, encoding: .utf8)
    let library = try fixture.compile(
      "int old(void) { return 1; } int both(void) { return 2; }", "libv.so",
      ["-shared", "-fPIC", "-Wl,-soname,libv.so", "-Wl,--version-script=" + fixture.path("map")])
    let user = try fixture.compile("int both(void), old(void); int f(void) { return both() + old(); }", "user.so", ["-shared", "-fPIC", "-Wl,--no-as-needed", library])
    let own = try ELFFile(path: library).symbolVersions()
    #expect(Set(own.defined.values) == ["V_1", "V_2"] && own.definesAny)
    let file = try ELFFile(path: user)
    let needs = try file.symbolVersions()
    #expect(Set(needs.needed.values.map { "\($0.library) \($0.version)" }).isSuperset(of: ["libv.so V_1", "libv.so V_2"]))
    let symbols = try ELFFile(path: library).dynamicSymbols()
    #expect(symbols.defines("both", version: "V_2", own) && symbols.defines("both", version: nil, own))
    #expect(!symbols.defines("both", version: "V_1", own) && !symbols.defines("both", version: "V_3", own))
    #expect(!symbols.defines("neither", version: nil, own))
    let undefined = try #require(try file.dynamicSymbols().undefined.first { $0.name == "both" })
    #expect(try needs.needed[file.dynamicSymbols().versionIndex(of: undefined.entry)]?.version == "V_2")
    // A library without versions serves any.
    let plain = try fixture.compile("int both(void) { return 2; }", "plain.so", ["-shared", "-fPIC"])
    #expect(try ELFFile(path: plain).dynamicSymbols().defines("both", version: "V_2", ELFFile(path: plain).symbolVersions()))
  }
}
