import CPulpABI
import Diagnostics
import ELF
import Tracing

/// The bytes of a `pulp_request`: what the runtime is asked to stage. Laid out as `CPulpABI` says; built from a plan alone.
struct StageRequest {
  let bytes: [UInt8]
  let token: UInt64

  /// - Parameters:
  ///   - files: of applies by their positions, the memory files that are loaded instead of the path.
  ///   - guest: the carrier is kept as it was from the containers' code.
  init(_ plan: PatchPlan, token: UInt64, tool: Int32, files: [Int: MemoryFile] = [:], guest: Bool = false) throws(CodedError) {
    var writer = RequestWriter()
    var head = pulp_request()
    head.magic = UInt32(PULP_REQUEST_MAGIC)
    head.version = UInt32(PULP_ABI_VERSION)
    head.patch_count = UInt32(plan.applies.count)
    head.revert_count = UInt32(plan.reverts.count)
    head.owner_pid = plan.identity.pid
    head.owner_start = plan.identity.startTime
    head.token = token
    head.tool_pid = UInt64(tool)
    let depends = plan.applies.contains { !$0.dependencies.isEmpty }
    head.flags = (guest ? UInt32(PULP_REQUEST_GUEST) : 0) | (depends ? UInt32(PULP_REQUEST_DEPENDS) : 0)
    writer.append(head)
    head.patches_offset = writer.position
    let patchOffset = Int(writer.position)
    for _ in plan.applies { writer.append(pulp_request_patch()) }
    if depends { StageRequest.dependencies(plan, &writer) }
    writer.align()
    head.reverts_offset = writer.position
    for revert in plan.reverts { writer.append(bytes: revert.id.bytes) }
    for (index, apply) in plan.applies.enumerated() {
      var patch = StageRequest.patch(apply, &writer)
      if let file = files[index] { patch.flags |= UInt64(file.index + 1) << UInt64(PULP_PATCH_FILE_SHIFT) }
      writer.replace(patch, at: patchOffset + index * MemoryLayout<pulp_request_patch>.stride)
    }
    writer.align()
    head.size = writer.position
    writer.replace(head, at: 0)
    guard writer.bytes.count <= Int(PULP_METADATA_BUFFER_SIZE) else {
      throw CodedError(
        .poolFull, "the plan for process \(plan.pid) needs \(writer.bytes.count) bytes, the runtime takes \(PULP_METADATA_BUFFER_SIZE)",
        data: ["pid": .integer(Int64(plan.pid))])
    }
    bytes = writer.bytes
    self.token = token
  }

  /// The table directly behind the patches, then the ids.
  private static func dependencies(_ plan: PatchPlan, _ writer: inout RequestWriter) {
    var offset = Int(writer.position) + plan.applies.count * MemoryLayout<pulp_request_dependencies>.stride
    for apply in plan.applies {
      writer.append(pulp_request_dependencies(count: UInt32(apply.dependencies.count), offset: UInt32(offset)))
      offset += apply.dependencies.count * PatchID.size
    }
    for apply in plan.applies { for id in apply.dependencies { writer.append(bytes: id.bytes) } }
  }

  /// Where the operator wants it unloaded after a revert, the reason alone tells what must not happen before.
  private static func keepFlags(_ apply: PatchPlan.Apply) -> UInt32 {
    guard apply.installsHandlers else { return apply.keepReason?.flags ?? 0 }
    return apply.keepReason == nil ? KeepReason.handlers.flags & ~UInt32(PULP_PATCH_KEEP.rawValue) : KeepReason.handlers.flags
  }

  private static func patch(_ apply: PatchPlan.Apply, _ writer: inout RequestWriter) -> pulp_request_patch {
    var patch = pulp_request_patch()
    withUnsafeMutableBytes(of: &patch.id) { $0.copyBytes(from: apply.id.bytes) }
    withUnsafeMutableBytes(of: &patch.build_id) { $0.copyBytes(from: apply.buildID.bytes) }
    withUnsafeMutableBytes(of: &patch.target_build_id) { $0.copyBytes(from: apply.targetBuildID.bytes) }
    patch.build_id_size = UInt32(apply.buildID.bytes.count)
    patch.target_build_id_size = UInt32(apply.targetBuildID.bytes.count)
    patch.target_bias = apply.bias
    patch.flags = UInt64(keepFlags(apply)) | (apply.pinsLibrary ? UInt64(PULP_PATCH_PIN.rawValue) : 0)
    patch.path_offset = writer.string(apply.targetPath)
    patch.lib_name_offset = writer.string(apply.libraryName)
    let names = apply.units.map { writer.string($0.newName) }
    let referenceNames = apply.references.map { writer.string($0.name) }
    writer.align()
    patch.unit_count = UInt32(apply.units.count)
    patch.units_offset = writer.position
    for (unit, name) in zip(apply.units, names) {
      writer.append(pulp_request_unit(entry: unit.entry, point_offset: unit.pointOffset, new_name_offset: name))
    }
    patch.reference_count = UInt32(apply.references.count)
    patch.references_offset = writer.position
    for (reference, name) in zip(apply.references, referenceNames) {
      writer.append(
        pulp_request_reference(
          target_offset: reference.targetOffset, patch_offset: reference.patchOffset, name_offset: name,
          tls: reference.isThreadLocal ? 1 : 0))
    }
    return patch
  }
}

/// Bytes with C structures in them.
struct RequestWriter {
  private(set) var bytes: [UInt8] = []
  var position: UInt32 { UInt32(bytes.count) }

  mutating func append<Value: BitwiseCopyable>(_ value: Value) { withUnsafeBytes(of: value) { bytes += $0 } }
  mutating func append(bytes more: [UInt8]) { bytes += more }
  mutating func align() { while bytes.count % 8 != 0 { bytes.append(0) } }

  /// Appends a NUL-terminated string and returns its offset.
  mutating func string(_ text: String) -> UInt32 {
    let offset = position
    bytes += text.utf8.filter { $0 != 0 }
    bytes.append(0)
    return offset
  }

  mutating func replace<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
    withUnsafeBytes(of: value) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
  }
}
