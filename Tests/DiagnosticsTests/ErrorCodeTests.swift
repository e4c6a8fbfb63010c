import Testing

@testable import Diagnostics

@Suite struct ErrorCodeTests {
  @Test func everyCodeIsUniqueDottedAndExplained() {
    var seen: Set<String> = []
    for code in ErrorCode.all {
      #expect(seen.insert(code.name).inserted, "\(code.name) is listed twice")
      #expect(code.name.utf8.allSatisfy { ($0 >= 0x61 && $0 <= 0x7a) || $0 == 0x2e || $0 == 0x5f }, "\(code.name)")
      #expect(!code.meaning.isEmpty && !code.meaning.hasSuffix("."), "\(code.name)")
      #expect(!code.hint.isEmpty && !code.hint.hasSuffix("."), "\(code.name)")
    }
  }

  @Test func aSpecificHintWinsOverTheCodesOwn() {
    #expect(CodedError(.usage, "x").hint == ErrorCode.usage.hint)
    #expect(CodedError(.usage, "x", hint: "y").hint == "y")
  }

  @Test func controlCharactersNeverReachTheScreen() {
    #expect(printable("a\u{1b}[2Jb\n") == "a\\x1b[2Jb\\x0a")
    #expect(printable("libß.so") == "libß.so")
  }
}
