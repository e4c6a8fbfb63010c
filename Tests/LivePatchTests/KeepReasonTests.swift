import Testing

@testable import LivePatch

/// What of a container can still be used when nobody is in it, decided from the file the compiler made.
@Suite struct KeepReasonTests {
  private static let code = "int new_dozen(void) { return 13; } "

  private func reason(_ source: String, stripped: Bool = false, references: Bool = false) throws -> KeepReason? {
    let fixture = ContainerFixture()
    let lines = references ? "#banner_length:ulpr_banner_length\n#%depth:ulpr_depth\n" : ""
    let description = try fixture.build(description: "fix.so\n@libdozen.so.1\ndozen:new_dozen\n" + lines)
    try fixture.compile(KeepReasonTests.code + source, "fix.so", ["-Wl,--build-id=sha1"])
    if stripped { try fixture.run("strip", [fixture.path("fix.so")]) }
    return try Container(path: try Packer.pack(descriptionPath: description).path).keepReason()
  }

  @Test(arguments: [false, true]) func codeAloneMayGo(stripped: Bool) throws {
    #expect(try reason("", stripped: stripped) == nil)
    #expect(try reason("extern int getpid(void); int calls_out(void) { return getpid(); }", stripped: stripped) == nil)
    #expect(try reason("__attribute__((constructor)) static void run(void) { __asm__ volatile(\"\"); }", stripped: stripped) == nil)
  }

  @Test(arguments: [false, true]) func placesOfReferencesAreNoVariables(stripped: Bool) throws {
    let places = "int *ulpr_banner_length; struct { unsigned long module, offset; } ulpr_depth; "
    #expect(try reason(places, stripped: stripped, references: true) == nil)
    #expect(try reason(places + "long beside[2]; int uses(void) { return beside[1]++; }", stripped: stripped, references: true) == .variables)
  }

  @Test(arguments: [
    ("const char *text(void) { return \"given away\"; }", KeepReason.constants),
    ("static const int table[] = {3, 1, 4, 1, 5, 9, 2, 6}; const int *numbers(void) { return table; }", .constants),
    ("static int calls; int count(void) { return ++calls; }", .variables),
    ("int first = 7; int count(void) { return ++first; }", .variables),
    ("static __thread int own; int count(void) { return ++own; }", .threadLocals),
    ("int (*give(void))(void) { return new_dozen; }", .functionPointers),
    ("extern int atexit(void (*)(void)); static void bye(void) {} int late(void) { return atexit(bye); }", .registrations),
    ("__attribute__((section(\"own\"))) int odd = 3; int count(void) { return ++odd; }", .otherData),
  ]) func whatCanBeUsedLaterStays(source: String, expected: KeepReason) throws {
    #expect(try reason(source) == expected)
    #expect(try reason(source, stripped: true) == expected)
  }

  @Test func theJournalKeepsTheReason() {
    for code in [KeepReason.constants, .asked] { #expect(KeepReason(flags: code.flags | 1) == code) }
    #expect(KeepReason(flags: 1) == nil)
    #expect(KeepReason(flags: 2 | 77 << 8) == .unknown)
  }
}
