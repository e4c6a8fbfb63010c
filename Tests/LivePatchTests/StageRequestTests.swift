import CPulpABI
import Diagnostics
import ELF
import Inferior
import Testing
import Tracing

@testable import LivePatch

/// The request is read here as the runtime reads it: by the C structures' offsets.
private struct Reader {
  let bytes: [UInt8]

  func load<Value: BitwiseCopyable>(_ offset: UInt32, as type: Value.Type = Value.self) -> Value {
    bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: Int(offset), as: Value.self) }
  }

  func string(_ offset: UInt32) -> String { String(decoding: bytes[Int(offset)...].prefix { $0 != 0 }, as: UTF8.self) }
}

@Suite struct StageRequestTests {
  private static func plan(units: Int, path: String = "/p/fix.so", applies: Int = 1) throws -> PatchPlan {
    let id = try #require(PatchID([UInt8](1...32)))
    let found = (0..<units).map { index in
      PatchPlan.Unit(
        oldName: "old\(index)", newName: "new_\(index)", entry: 0x7000_0000 + UInt64(index) * 64, pointOffset: index % 2 == 0 ? 0 : 4,
        size: 10, found: [], form: .notPrepared)
    }
    let file = FileStamp(identity: FileIdentity(device: 1, inode: 2), size: 3, modified: 4, changed: 5)
    let apply = PatchPlan.Apply(
      id: id, path: path, targetPath: path, file: file, contents: nil, buildID: try #require(BuildID([1, 2, 3, 4, 5])),
      libraryName: "libtarget.so.1", libraryPath: "/lib/libtarget.so.1", bias: 0x7fff_0000_1000, targetBuildID: try #require(BuildID([9, 8, 7])), units: found,
      references: [
        ContainerReference(targetName: "counter", name: "ulpr_counter", targetOffset: 0x4000, patchOffset: 0x88, isThreadLocal: true)
      ], constructors: [], brings: [], labels: [], exposures: [], keepReason: .variables, pinsLibrary: true)
    let revert = PatchPlan.Revert(id: id, libraryName: "libtarget.so.1", path: path, functions: [])
    return PatchPlan(
      pid: 42, identity: ProcessIdentity(pid: 42, startTime: 4711), universe: 3, applies: Array(repeating: apply, count: applies),
      reverts: [revert], already: [], lost: [], warnings: [])
  }

  @Test(arguments: [0, 1, 2, 33]) func theRuntimeFindsWhatThePlanSays(units: Int) throws {
    let request = try StageRequest(try Self.plan(units: units), token: 77, tool: 1234)
    let reader = Reader(bytes: request.bytes)
    let head: pulp_request = reader.load(0)
    #expect(head.magic == UInt32(PULP_REQUEST_MAGIC) && head.version == UInt32(PULP_ABI_VERSION))
    #expect(head.size == UInt32(request.bytes.count) && head.size % 8 == 0)
    #expect(head.owner_pid == 42 && head.owner_start == 4711 && head.token == 77 && head.tool_pid == 1234)
    #expect(head.patch_count == 1 && head.revert_count == 1)
    #expect(head.patches_offset % 8 == 0)
    let reverts = Int(head.reverts_offset)
    #expect(Array(request.bytes[reverts..<reverts + 32]) == [UInt8](1...32))
    let patch: pulp_request_patch = reader.load(head.patches_offset)
    #expect(withUnsafeBytes(of: patch.id) { Array($0) } == [UInt8](1...32))
    #expect(patch.build_id_size == 5 && patch.target_build_id_size == 3)
    #expect(withUnsafeBytes(of: patch.build_id) { Array($0.prefix(6)) } == [1, 2, 3, 4, 5, 0])
    #expect(withUnsafeBytes(of: patch.target_build_id) { Array($0.prefix(4)) } == [9, 8, 7, 0])
    #expect(patch.target_bias == 0x7fff_0000_1000)
    #expect(reader.string(patch.path_offset) == "/p/fix.so" && reader.string(patch.lib_name_offset) == "libtarget.so.1")
    #expect(patch.unit_count == UInt32(units) && patch.units_offset % 8 == 0)
    for index in 0..<units {
      let unit: pulp_request_unit = reader.load(patch.units_offset + UInt32(index * MemoryLayout<pulp_request_unit>.stride))
      #expect(unit.entry == 0x7000_0000 + UInt64(index) * 64 && unit.point_offset == (index % 2 == 0 ? 0 : 4))
      #expect(reader.string(unit.new_name_offset) == "new_\(index)")
    }
    #expect(patch.reference_count == 1 && patch.references_offset % 8 == 0)
    let reference: pulp_request_reference = reader.load(patch.references_offset)
    #expect(reference.target_offset == 0x4000 && reference.patch_offset == 0x88 && reference.tls == 1)
  }

  @Test func severalPatchesHaveTheirOwnParts() throws {
    let request = try StageRequest(try Self.plan(units: 3, applies: 3), token: 1, tool: 1)
    let reader = Reader(bytes: request.bytes)
    let head: pulp_request = reader.load(0)
    let patches = (0..<3).map { index -> pulp_request_patch in
      reader.load(head.patches_offset + UInt32(index * MemoryLayout<pulp_request_patch>.stride))
    }
    #expect(Set(patches.map(\.units_offset)).count == 3)
    #expect(patches.allSatisfy { reader.string($0.path_offset) == "/p/fix.so" })
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let plan = try Self.plan(units: 30000)
    do {
      _ = try StageRequest(plan, token: 1, tool: 1)
      Issue.record("it was made")
    } catch { #expect(error.code == .poolFull) }
  }
}
