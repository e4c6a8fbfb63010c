import Diagnostics
import Foundation
import Testing

@testable import ELF
@testable import LivePatch

/// Metadata in files of its own, as older tools have it.
@Suite struct MetadataFileTests {
  let fixture = ContainerFixture()

  private func packed() throws -> Container {
    let description = try fixture.build()
    _ = try Packer.pack(descriptionPath: description)
    return try Container(path: fixture.path("fix.so"))
  }

  private func code(_ body: () throws(CodedError) -> Void) -> ErrorCode? {
    do {
      try body()
      return nil
    } catch { return error.code }
  }

  @Test func aSeparateFileStandsForItsContainer() throws {
    let container = try packed()
    try fixture.write(try container.wireForm(), "fix.ulp")
    let file = try MetadataFile(path: fixture.path("fix.ulp"))
    #expect(file.containerPath == container.path && file.section == container.applyBytes)
    #expect(try Container(path: fixture.path("fix.ulp")).metadata == container.metadata)
    // Containers of old had no sections of their own.
    for name in [".ulp", ".ulp.rev", ".ulp.comments"] { try fixture.run("objcopy", ["-R", name, fixture.path("fix.so")]) }
    #expect(code { () throws(CodedError) in _ = try Container(path: fixture.path("fix.so")) } == .containerNoMetadata)
    let old = try Container(path: fixture.path("fix.ulp"))
    #expect(old.metadata == container.metadata && old.revertBytes == nil && old.path == container.path)
    #expect(try old.wireForm() == container.wireForm())
  }

  @Test func relativePathsLeadFromTheFileItself() throws {
    let container = try packed()
    try fixture.write(try container.wireForm(path: "fix.so"), "fix.ulp")
    #expect(try Container(path: fixture.path("fix.ulp")).path == container.path)
  }

  @Test func aFileThatSaysSomethingElseThanItsContainerIsRefused() throws {
    let container = try packed()
    var metadata = container.metadata
    metadata.units.removeLast()
    try fixture.write(try MetadataCodec.wireForm(MetadataCodec.encode(metadata), path: container.path), "fix.ulp")
    #expect(code { () throws(CodedError) in _ = try Container(path: fixture.path("fix.ulp")) } == .containerContradiction)
    try fixture.write(try #require(try container.revertWireForm()), "fix.rev")
    #expect(code { () throws(CodedError) in _ = try Container(path: fixture.path("fix.rev")) } == .containerNoMetadata)
  }

  @Test func revertFilesComeFromContainersAndFiles() throws {
    let container = try packed()
    let wanted = try #require(try container.revertWireForm())
    #expect(wanted.count == 1 + 32 + 4 + container.path.utf8.count + 1 + 4 + 20 + 4 + 13)
    #expect(try MetadataFile.revertForm(of: container.path) == wanted)
    try fixture.write(try container.wireForm(), "fix.ulp")
    #expect(try MetadataFile.revertForm(of: fixture.path("fix.ulp")) == wanted)
    try fixture.write(wanted, "fix.rev")
    #expect(try MetadataFile.revertForm(of: fixture.path("fix.rev")) == wanted)
    guard case .revert(let revert) = try MetadataFile(path: fixture.path("fix.rev")).contents else {
      Issue.record("no revert metadata")
      return
    }
    #expect(revert.id == container.id && revert.targetName == "libdozen.so.1")
  }

  @Test func everyCutAndEveryAlteredByteIsRefusedOrConsistent() throws {
    let container = try packed()
    let allowed: Set<ErrorCode> = [.containerMalformed, .containerContradiction, .fileUnreadable, .elfNotELF, .containerNoMetadata]
    for good in [try container.wireForm(), try #require(try container.revertWireForm())] {
      for place in good.indices {
        var variants = [Array(good[..<place])]
        for mask: UInt8 in [0x01, 0x7f, 0x80, 0xff] {
          var altered = good
          altered[place] ^= mask
          variants.append(altered)
        }
        for bytes in variants {
          try fixture.write(bytes, "hostile.ulp")
          do throws(CodedError) {
            let read = try Container(path: fixture.path("hostile.ulp"))
            #expect(read.metadata == container.metadata, "a byte outside the metadata: the path, which led here (\(place))")
          } catch { #expect(allowed.contains(error.code), "\(place): \(error)") }
          do throws(CodedError) { _ = try MetadataFile.revertForm(of: fixture.path("hostile.ulp")) } catch {
            #expect(allowed.contains(error.code), "\(place): \(error)")
          }
        }
      }
    }
  }

  @Test func whatIsTooLongIsNotRead() throws {
    try fixture.write([1] + [UInt8](repeating: 0, count: MetadataCodec.wireLimit), "long.ulp")
    #expect(code { () throws(CodedError) in _ = try MetadataFile(path: fixture.path("long.ulp")) } == .containerMalformed)
  }

  /// Comments hold any text; whatever it is, it must not break what shows them.
  @Test func alteredCommentsAreJustText() throws {
    let container = try packed()
    let file = try ELFFile(path: container.path)
    let section = try #require(try file.section(named: Container.commentsSection))
    let good = try fixture.bytes("fix.so")
    for place in 0..<Int(section.size) {
      for value: UInt8 in [0, 0x1b, 0xff] {
        var bytes = good
        bytes[Int(section.offset) + place] = value
        try fixture.write(bytes, "odd.so")
        let odd = try Container(path: fixture.path("odd.so"))
        #expect(odd.metadata == container.metadata && odd.comments.utf8.count <= 3 * Int(section.size))
      }
    }
  }
}
