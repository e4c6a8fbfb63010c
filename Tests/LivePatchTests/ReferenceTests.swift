import Diagnostics
import Foundation
import Testing

@testable import ELF
@testable import LivePatch

private func failure(_ body: () throws(CodedError) -> Void) -> CodedError? {
  do {
    try body()
    return nil
  } catch { return error }
}

/// Where the names of a description are found when they give no offsets.
@Suite struct ReferenceTests {
  let fixture = ContainerFixture()

  static let library = """
    static __thread int at_zero = 5;
    static __thread int behind = 6;
    static int total = 3;
    int count(void) { static int inner = 4; static int both = 1; return ++total + ++inner + ++both; }
    int bump(void) { static int both = 2; return ++both + at_zero++ + behind++; }
    """
  static let patch = """
    int *int_ref; struct { unsigned long module, offset; } tls_ref; int (*function_ref)(void);
    int new_count(void) { return *int_ref; }
    static int *twice_ref; int **keep(void) { return &twice_ref; }
    """

  private func build(_ lines: [String], _ options: [String] = ["-g"]) throws -> String {
    let prepared = ["-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1", "-Wl,-soname,libcount.so.0"]
    try fixture.compile(Self.library, "libcount.so.0", prepared + options)
    try fixture.compile(Self.patch, "fix.so", ["-Wl,--build-id=sha1"])
    return try fixture.describe((["fix.so", "@libcount.so.0"] + lines).joined(separator: "\n") + "\n")
  }

  private func references(_ description: String, _ options: Packer.Options = Packer.Options()) throws -> [ContainerReference] {
    try Packer.pack(descriptionPath: description, options).metadata.references
  }

  private func place(_ name: String) throws -> UInt64 {
    let all = try ELFFile(path: fixture.path("libcount.so.0")).staticSymbols()
    return try #require(all.symbol(named: name)).value
  }

  @Test func staticsOfFilesAndFunctionsThreadLocalsAndFunctions() throws {
    let found = try references(
      try build(["#total:int_ref", "#inner:int_ref", "#%at_zero:tls_ref", "#%behind:tls_ref", "#count:function_ref", "#inner.1:int_ref"]
        .map { line in try symbolic(line) }))
    let offsets = found.map(\.targetOffset)
    #expect(try offsets[0] == place("total"))
    #expect(offsets[1] == offsets[5] && offsets[1] != 0, "DWARF and .symtab agree on the function's static variable")
    #expect(Set([offsets[2], offsets[3]]) == [0, 4], "one of the thread-local variables is at the block's beginning")
    #expect(found.map(\.isThreadLocal) == [false, false, true, true, false, false])
    #expect(try offsets[4] == place("count"))
  }

  /// gcc numbers static variables of functions; which number `inner` got is found out first.
  private func symbolic(_ line: String) throws -> String {
    guard line.hasPrefix("#inner.") else { return line }
    try fixture.compile(Self.library, "libcount.so.0", ["-g", "-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1", "-Wl,-soname,libcount.so.0"])
    let table = try ELFFile(path: fixture.path("libcount.so.0")).staticSymbols()
    var name = ""
    table.forEachDefined { if table.name(of: $0).hasPrefix("inner.") { name = table.name(of: $0) } }
    return "#\(name):int_ref"
  }

  @Test func aNameOfSeveralVariablesIsRefusedWithAllOfThem() throws {
    let description = try build(["#both:int_ref"])
    let error = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    #expect(error.code == .targetFunctionAmbiguous && error.message.contains(":3:2: "), "\(error)")
    #expect(error.message.contains("count in ") && error.message.contains("bump in ") && error.hint.contains("offsets"), "\(error)")
  }

  @Test func offsetsDecideBetweenThem() throws {
    _ = try build([])
    let variables = try ELFFile(path: fixture.path("libcount.so.0")).debugVariables(named: "both").found
    #expect(variables.count == 2 && Set(variables.map(\.function)) == ["count", "bump"])
    let wanted = try #require(variables.first { $0.function == "bump" }).place
    let own = try #require(try ELFFile(path: fixture.path("fix.so")).symbol(named: "int_ref")).value
    let description = try fixture.describe(
      "fix.so\n@libcount.so.0\n#both:int_ref:\(String(wanted, radix: 16)):0x\(String(own, radix: 16))\n")
    let found = try references(description)
    #expect(found[0].targetOffset == wanted && found[0].patchOffset == own)
  }

  @Test func literalOffsetsAreHonouredAndOddOnesNamed() throws {
    let description = try build(["#total:int_ref:10:0", "#total:int_ref:ffffff:0", "#%at_zero:tls_ref:0:0", "#%unknown:tls_ref:0:0"])
    let result = try Packer.pack(descriptionPath: description)
    #expect(result.metadata.references.map(\.targetOffset).prefix(2) == [0x10, 0xffffff])
    #expect(result.metadata.references.map(\.targetOffset).suffix(2) == [try place("at_zero"), 0])
    #expect(result.warnings.count == 3 && result.warnings[2].contains("replaces no function"), "\(result.warnings)")
    #expect(result.warnings[0].contains(":3: total is at") && result.warnings[1].contains(":4: ") && result.warnings[1].contains("outside"))
  }

  @Test(arguments: [false, true]) func splitDebugInformationIsFound(isNamed: Bool) throws {
    let description = try build(["#total:int_ref", "#inner:int_ref", "#%behind:tls_ref", "count:new_count"])
    let whole = try references(description)
    let library = fixture.path("libcount.so.0")
    let debug = fixture.path(isNamed ? "elsewhere.debug" : ".debug/libcount.debug")
    mkdir(fixture.path(".debug"), 0o755)
    try fixture.run("objcopy", ["--only-keep-debug", library, debug])
    try fixture.run("strip", ["--strip-all", library])
    let stripped = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    #expect(stripped.code == .targetFunctionMissing && stripped.message.contains("total"))
    var options = Packer.Options()
    if isNamed { options.debugFile = debug } else { try fixture.run("objcopy", ["--add-gnu-debuglink=" + debug, library]) }
    #expect(try references(description, options) == whole)
    // Debug information of another build tells wrong places.
    try fixture.compile("int other;", "other.so", ["-Wl,--build-id=sha1"])
    if isNamed {
      options.debugFile = fixture.path("other.so")
      #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description, options) }?.code == .targetBuildID)
    } else {
      rename(fixture.path("other.so"), debug)
      #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) }?.code == .targetFunctionMissing)
    }
  }

  @Test func variablesThatTheCompilerRemovedAreSaidToBe() throws {
    let description = try build(["#gone:int_ref"])
    try fixture.compile(
      "static int gone = 3; int count(void) { return gone; }", "libcount.so.0",
      ["-g", "-O2", "-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1"])
    let error = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    #expect(error.code == .targetFunctionMissing, "\(error)")
  }

  @Test func severalMistakesAreToldTogether() throws {
    let description = try build(["missing:new_count", "count:nowhere", "#nothing:int_ref", "#%total:tls_ref", "count:new_count"])
    let error = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    guard case .list(let mistakes)? = error.data.first(where: { $0.name == "mistakes" })?.value else {
      Issue.record("no list: \(error)")
      return
    }
    let places = mistakes.map { mistake -> [DiagnosticValue] in
      guard case .record(let members) = mistake else { return [] }
      return ["code", "line", "column"].compactMap { name in members.first { $0.name == name }?.value }
    }
    #expect(
      places == [
        ["target.function_missing", 3, 1], ["container.contradiction", 4, 7], ["target.function_missing", 5, 2],
        ["description.syntax", 6, 3], ["container.duplicate", 7, 1],
      ])
  }
}
