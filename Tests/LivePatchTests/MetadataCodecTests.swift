import Diagnostics
import Testing

@testable import ELF
@testable import LivePatch

/// The worked example of the libpulp container format: `banner_set` replaced, one reference.
private let example = ContainerMetadata(
  id: PatchID(hexBytes("9bd0bbe39f3a333b9e1892fca39f07cecea01f1297ad33a23df05daa9313fa22"))!, targetName: "libaccess.so.0",
  targetBuildID: BuildID(hexadecimal: "b810226a02f6843bc4ae636d298f7ef6e69ecd30")!,
  units: [ContainerUnit(oldName: "banner_set", newName: "new_banner_set", oldAddress: 0x112e)],
  references: [
    ContainerReference(
      targetName: "banner", name: "ulpr_banner", targetOffset: 0x4008, patchOffset: 0x4018, isThreadLocal: false)
  ])

private let exampleBytes = workedExample
private let exampleRevertBytes = workedRevertExample

private func error(_ body: () throws(CodedError) -> Void) -> CodedError? {
  do {
    try body()
    return nil
  } catch { return error }
}

@Suite struct MetadataCodecTests {
  @Test func theWorkedExampleByteForByte() throws {
    #expect(exampleBytes.count == 174)
    #expect(MetadataCodec.encode(example) == exampleBytes)
    #expect(try MetadataCodec.decode(exampleBytes) == example)
    let revert = RevertMetadata(id: example.id, targetName: example.targetName, targetBuildID: example.targetBuildID)
    #expect(exampleRevertBytes.count == 75)
    #expect(MetadataCodec.encode(revert) == exampleRevertBytes)
    #expect(try MetadataCodec.decodeRevert(exampleRevertBytes) == revert)
  }

  @Test func listsOfReferencesAndDependenciesAreStoredLastFirst() throws {
    var metadata = example
    metadata.references.append(
      ContainerReference(targetName: "second", name: "ulpr_second", targetOffset: 1, patchOffset: 0, isThreadLocal: true))
    metadata.units.append(ContainerUnit(oldName: "b", newName: "c", oldAddress: 0))
    metadata.dependencies = [PatchID([UInt8](repeating: 1, count: 32))!, PatchID([UInt8](repeating: 2, count: 32))!]
    let encoded = MetadataCodec.encode(metadata)
    #expect(try MetadataCodec.decode(encoded) == metadata)
    func place(_ text: [UInt8]) throws -> Int { try #require(encoded.indices.first { encoded[$0...].starts(with: text) }) }
    #expect(try place(Array("second".utf8)) < place(Array("banner\0".utf8)))
    #expect(try place([2, 2, 2, 2]) < place([1, 1, 1, 1]))
    #expect(encoded.last == 0, "the first reference of the description comes last")
  }

  @Test func everyCutIsACodedError() {
    for length in 0..<exampleBytes.count {
      let error = error { () throws(CodedError) in _ = try MetadataCodec.decode(Array(exampleBytes[..<length])) }
      #expect(error?.code == .containerMalformed, "cut at \(length)")
    }
    for length in 0..<exampleRevertBytes.count {
      let error = error { () throws(CodedError) in _ = try MetadataCodec.decodeRevert(Array(exampleRevertBytes[..<length])) }
      #expect(error?.code == .containerMalformed, "cut at \(length)")
    }
  }

  /// Whatever is accepted must mean the same when it is written and read again.
  @Test func everyAlteredByteIsAnErrorOrAConsistentValue() throws {
    for place in exampleBytes.indices {
      for value in UInt8.min...UInt8.max where value != exampleBytes[place] {
        var altered = exampleBytes
        altered[place] = value
        do throws(CodedError) {
          let decoded = try MetadataCodec.decode(altered)
          #expect(decoded != example, "byte \(place) carries no meaning")
          // A smaller number of references leaves bytes at the end, which are ignored.
          #expect(altered.starts(with: MetadataCodec.encode(decoded)), "byte \(place) = \(value)")
        } catch { #expect(error.code == .containerMalformed) }
      }
    }
  }

  @Test func hugeCountsAreRefusedBeforeAnythingIsStored() {
    for place in [0x21, 0x39, 0x4c, 0x50, 0x5f, 0x7a, 0x7e, 0x82, 0x8d] {
      for count: UInt32 in [.max, 1 << 31, 1 << 24] {
        var altered = exampleBytes
        altered.replace(at: place, count)
        let error = error { () throws(CodedError) in _ = try MetadataCodec.decode(altered) }
        #expect(error?.code == .containerMalformed)
      }
    }
  }

  @Test func bytesBehindTheEndAreIgnoredAsSUSEDoes() throws {
    #expect(try MetadataCodec.decode(exampleBytes + [1, 2, 3]) == example)
    #expect(
      try MetadataCodec.decodeRevert(exampleRevertBytes.dropLast(14) + Array("libaccess.so.0".utf8)).targetName
        == "libaccess.so.0")
  }

  @Test func theWireFormCarriesThePathBehindThePatchID() throws {
    let wire = try MetadataCodec.wireForm(exampleBytes, path: "/tmp/fix.so")
    #expect(Array(wire[..<33]) == Array(exampleBytes[..<33]))
    #expect(Array(wire[33..<37]) == [12, 0, 0, 0])
    #expect(Array(wire[37..<49]) == Array("/tmp/fix.so\0".utf8))
    #expect(Array(wire[49...]) == Array(exampleBytes[33...]))
    let back = try MetadataCodec.section(ofWireForm: wire)
    #expect(back.section == exampleBytes && back.path == "/tmp/fix.so")
    for length in 0..<49 {
      #expect(error { () throws(CodedError) in _ = try MetadataCodec.section(ofWireForm: Array(wire[..<length])) } != nil)
    }
  }

  @Test func theWireFormKeepsTheLimitsOfTheReceiver() {
    let longPath = "/" + String(repeating: "a", count: 4094)
    #expect(
      error { () throws(CodedError) in _ = try MetadataCodec.wireForm(exampleBytes, path: longPath) }?.code
        == .containerMalformed)
    #expect(
      error { () throws(CodedError) in _ = try MetadataCodec.wireForm(exampleBytes, path: String(longPath.dropLast())) } == nil)
    #expect(error { () throws(CodedError) in _ = try MetadataCodec.wireForm(exampleBytes, path: "") } != nil)
    let big = exampleBytes + [UInt8](repeating: 0, count: MetadataCodec.wireLimit)
    #expect(error { () throws(CodedError) in _ = try MetadataCodec.wireForm(big, path: "/x") }?.code == .containerMalformed)
  }

  @Test func patchIDsAreHalfBuildIDHalfDigest() {
    let long = BuildID([UInt8](1...20))!
    #expect(PatchID(containerBuildID: long, description: []).bytes == Array(1...16) + hexBytes("31d6cfe0d16ae931b73c59d7e0c089c0"))
    let short = BuildID([7, 7])!
    #expect(
      Array(PatchID(containerBuildID: short, description: []).bytes.prefix(16)) == [7, 7] + [UInt8](repeating: 0, count: 14))
  }

  /// RFC 1320, appendix A.5.
  @Test(arguments: [
    ("", "31d6cfe0d16ae931b73c59d7e0c089c0"), ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
    ("abc", "a448017aaf21d8525fc10ae87aa6729d"), ("message digest", "d9130a8164549fe818874806e1c7014b"),
    ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
    ("12345678901234567890123456789012345678901234567890123456789012345678901234567890", "e33b4ddc9c38f2199c3e7b164fcc0536"),
  ]) func md4(_ text: String, _ digest: String) {
    #expect(hexadecimal(MD4.digest(Array(text.utf8))) == digest)
  }

  @Test func labelsInAnyLetterCase() {
    let text = "Fixes BSC#12 (and bsc#1), jsc#PED-7, see CVE-2024-12345; not bsc#, jsc#-1, cve-2024, bsc#12 again Bsc#12"
    #expect(PatchLabels.scan(text) == ["BSC#12", "bsc#1", "jsc#PED-7", "CVE-2024-12345", "bsc#12", "Bsc#12"])
    #expect(PatchLabels.scan("").isEmpty)
  }
}
