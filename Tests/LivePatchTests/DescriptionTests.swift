import Diagnostics
import Testing

@testable import LivePatch

private func parse(_ text: String) throws(CodedError) -> PatchDescription {
  try PatchDescription(source: Array(text.utf8), path: "x.dsc")
}

@Suite struct DescriptionTests {
  @Test func everyPartIsReadWithItsPlace() throws {
    let text = """
      ! one

      !two
      /lib/fix.so
      *old.ulp
      !three
      @libfoo.so.1
      old:new
      #var:ulpr_var
      #%tvar:ulpr_tvar:0x10:2F
      """
    let description = try parse(text)
    #expect(description.comments == [" one", "two", "three"])
    #expect(description.container.text == "/lib/fix.so" && description.container.place.line == 4)
    #expect(description.dependencies.map(\.text) == ["old.ulp"])
    #expect(description.target.text == "libfoo.so.1")
    #expect(description.target.place == PatchDescription.Place(line: 7, column: 2, length: 11))
    #expect(description.pairs.map(\.oldName.text) == ["old"] && description.pairs.map(\.newName.text) == ["new"])
    #expect(description.pairs[0].newName.place == PatchDescription.Place(line: 8, column: 5, length: 3))
    #expect(description.references.count == 2)
    #expect(description.references[0].offsets == nil && !description.references[0].isThreadLocal)
    #expect(description.references[1].offsets == PatchDescription.Offsets(target: 0x10, patch: 0x2f))
    #expect(description.references[1].isThreadLocal && description.references[1].targetName.text == "tvar")
    #expect(description.source == Array(text.utf8))
  }

  @Test func noFunctionAtAllIsAllowed() throws { #expect(try parse("a.so\n@b.so\n").pairs.isEmpty) }

  @Test(arguments: [
    ("", 1, 1, "empty"), ("!only a comment\n", 1, 1, "path of the container"), ("a.so\n", 1, 1, "'@'"),
    ("@b.so\n", 1, 1, "path of the container"), ("#a:b\n", 1, 1, "path of the container"),
    ("a.so\nf:g\n@b.so\n", 2, 1, "before the target"), ("a.so\n#v:w\n@b.so\n", 2, 1, "before the target"),
    ("a.so\n@\n", 2, 2, "path of the target"), ("a.so\n@b.so\n@c.so\n", 3, 1, "line 2"),
    ("a.so\n@b.so\nname\n", 3, 5, "':'"), ("a.so\n@b.so\nname:\n", 3, 6, "new function"),
    ("a.so\n@b.so\n:g\n", 3, 1, "to be replaced"), ("a.so\n@b.so\nf::g\n", 3, 5, "new function"),
    ("a.so\n@b.so\nf::1:g\n", 3, 4, "third field"), ("a.so\n@b.so\nn::f(int) :g\n", 3, 10, "blank"),
    ("a.so\n@b.so\nf:g:h\n", 3, 5, "third field"), ("a.so\n@b.so\nf: g\n", 3, 3, "blank"),
    ("a.so\n@b.so\nf:g\r\n", 3, 4, "carriage return"), ("a.so\n@b.so\n#a\n", 3, 3, "':'"),
    ("a.so\n@b.so\n#:b\n", 3, 2, "variable of the target"), ("a.so\n@b.so\n#%\n", 3, 3, "':'"),
    ("a.so\n@b.so\n#a:\n", 3, 4, "container's variable"), ("a.so\n@b.so\n#a:b:10\n", 3, 8, "only one offset"),
    ("a.so\n@b.so\n#a:b:xyz:10\n", 3, 6, "hexadecimal"), ("a.so\n@b.so\n#a:b::10\n", 3, 6, "hexadecimal"),
    ("a.so\n@b.so\n#a:b:1:11112222333344445\n", 3, 8, "hexadecimal"), ("a.so\n@b.so\n#a:b:1:-1\n", 3, 8, "hexadecimal"),
    ("a.so\n@b.so\n#a:b:1:2:3\n", 3, 10, "fifth field"), ("a.so\n\n*dep\n@b.so\n", 3, 1, "directly follow"),
    ("a.so\n*\n@b.so\n", 2, 2, "metadata file"), ("a.so\n@b.so\nf\0:g\n", 3, 2, "NUL"),
  ]) func mistakesAreShownInPlace(_ text: String, _ line: Int, _ column: Int, _ expected: String) throws {
    let error = try #require(throws: CodedError.self) { _ = try parse(text) }
    #expect(error.code == .descriptionSyntax)
    #expect(error.message.hasPrefix("x.dsc:\(line):\(column): "), "\(error.message)")
    #expect(error.message.contains(expected), "\(error.message)")
  }

  @Test func theOffendingLineAndItsMarkerAreData() throws {
    let error = try #require(throws: CodedError.self) { _ = try parse("a.so\n@b.so\nfoo:bar:extra\n") }
    let data = Dictionary(uniqueKeysWithValues: error.data.map { ($0.name, $0.value) })
    #expect(data["source"] == "foo:bar:extra")
    #expect(data["marker"] == "        ^~~~~")
    #expect(data["line"] == 3 && data["column"] == 9)
  }

  @Test func terminalEscapesInALineDoNotReachTheScreen() throws {
    let error = try #require(throws: CodedError.self) { _ = try parse("a.so\n@b.so\n\u{1b}[2J\n") }
    #expect(!error.message.contains("\u{1b}"))
    #expect(error.data.allSatisfy { if case .text(let text) = $0.value { !text.contains("\u{1b}") } else { true } })
  }

  @Test func everyCutAndEveryAlteredByteIsReadOrRefused() {
    let good = Array(ContainerFixture.description.utf8)
    for place in good.indices {
      for bytes in [Array(good[..<place])]
        + [0, 0x0a, 0x0d, 0x20, 0x23, 0x3a, 0x40, 0x80, 0xff].map({ good[..<place] + [$0] + good[(place + 1)...] })
      {
        do throws(CodedError) { _ = try PatchDescription(source: bytes, path: "x") } catch {
          #expect(error.code == .descriptionSyntax)
        }
      }
    }
  }
}
