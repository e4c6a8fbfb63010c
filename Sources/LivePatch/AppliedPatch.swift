import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

/// A container that the runtime of a process knows, as its journal says.
public struct LoadedPatch: Sendable {
  /// One replaced function.
  public struct Unit: Sendable {
    public let entry: UInt64
    public let replacement: UInt64
    public let pointOffset: UInt32
  }

  /// Address of the `pulp_patch` in the process: its identity there.
  public let address: UInt64
  /// 32 bytes: half of the container's build ID, and the digest of its description.
  public let id: [UInt8]
  public let libraryName: String
  public let path: String
  public let units: [Unit]
  /// The universe it came into force with, `UInt64.max` while it never did.
  let appliedUniverse: UInt64
  /// The universe it went out of force with, 0 while it never did.
  public let revertedUniverse: UInt64
  public let container: Range<UInt64>
  public let targetBias: UInt64
  public let targetBuildID: [UInt8]
  /// CLOCK_REALTIME seconds.
  public let time: UInt64
  /// `pulp_patch_flags`: what is to become of it.
  let flags: UInt32
  let operationNext: UInt64
  let handle: UInt64
  /// Ids of patches that stay in force for as long as this one is.
  var dependencies: [[UInt8]] = []

  /// How the container came into the process.
  public var delivery: Delivery { flags & UInt32(PULP_PATCH_MEMORY.rawValue) != 0 ? .memory : .path }

  /// Whether code of it has run when it was loaded, with the carrier kept as it was; its destructors are treated the same.
  var wasGuest: Bool { flags & UInt32(PULP_PATCH_GUEST.rawValue) != 0 }

  /// Why it is not even given back when it never came into force: its code has run, and its handlers may be installed.
  var lastingReason: String? { wasGuest && UInt8(truncatingIfNeeded: flags >> 8) == KeepReason.handlers.rawValue ? KeepReason.handlers.text : nil }

  public func isInForce(at universe: UInt64) -> Bool {
    appliedUniverse <= universe && (revertedUniverse == 0 || universe < revertedUniverse)
  }
}

extension PulpRuntime {
  static let patchLimit = 65536
  /// Of one patch; its metadata of 512 KiB hold no more.
  static let dependencyLimit = 16384
  /// Of all patches together: the pool has 8192 stubs, and retired patches keep their units.
  static let unitLimit = 1 << 20

  /// All containers the journal knows, newest first: in force, staged, retired. The list is the target's own memory:
  /// bounded, and a cycle is `runtime.corrupt`.
  public func loadedPatches() throws(CodedError) -> [LoadedPatch] {
    try loadedPatches(from: try memory.load(ext.patches, as: UInt64.self))
  }

  private func loadedPatches(from first: UInt64) throws(CodedError) -> [LoadedPatch] {
    var patches: [LoadedPatch] = []
    var node = first
    var seen: Set<UInt64> = []
    var unitCount = 0
    while node != 0 {
      guard seen.insert(node).inserted, seen.count <= PulpRuntime.patchLimit else { throw corrupt("its patch list is a cycle or too long") }
      let raw = try memory.load(node, as: pulp_patch.self)
      guard raw.magic == PULP_PATCH_MAGIC else { throw corrupt("its patch list leads nowhere") }
      unitCount += Int(raw.unit_count)
      guard unitCount <= PulpRuntime.unitLimit else { throw corrupt("its patches have too many functions") }
      patches.append(try decode(raw, at: node))
      node = raw.next
    }
    return patches
  }

  private func decode(_ raw: pulp_patch, at address: UInt64) throws(CodedError) -> LoadedPatch {
    guard raw.container_start <= raw.container_end, raw.target_build_id_size <= PULP_BUILD_ID_MAX
    else { throw corrupt("a patch record is malformed") }
    let units = try memory.load(raw.record.units, count: Int(raw.unit_count), as: pulp_unit.self)
    guard units.allSatisfy({ isCode($0.patched_addr) && $0.point_offset <= 4 }) else { throw corrupt("a patched function is malformed") }
    let name = try memory.cstring(raw.record.lib_name, limit: 4096)
    let path = try memory.cstring(raw.record.container_name, limit: 4096)
    return LoadedPatch(
      address: address,
      id: withUnsafeBytes(of: raw.record.id) { [UInt8]($0) },
      libraryName: String(decoding: name, as: UTF8.self),
      path: String(decoding: path, as: UTF8.self),
      units: units.map { .init(entry: $0.patched_addr, replacement: $0.target_addr, pointOffset: $0.point_offset) },
      appliedUniverse: raw.applied_universe, revertedUniverse: raw.reverted_universe,
      container: raw.container_start..<raw.container_end,
      targetBias: raw.target_bias,
      targetBuildID: withUnsafeBytes(of: raw.target_build_id) { [UInt8]($0.prefix(Int(raw.target_build_id_size))) },
      time: raw.record.time, flags: raw.flags, operationNext: raw.op_next, handle: raw.handle,
      dependencies: try dependencies(from: raw.record.dependencies))
  }

  private func dependencies(from first: UInt64) throws(CodedError) -> [[UInt8]] {
    var ids: [[UInt8]] = []
    var node = first
    while node != 0 {
      guard ids.count < PulpRuntime.dependencyLimit else { throw corrupt("a patch has too many dependencies") }
      let raw = try memory.load(node, as: pulp_dependency.self)
      ids.append(withUnsafeBytes(of: raw.id) { [UInt8]($0) })
      node = raw.next
    }
    return ids
  }

  /// A consistent reading of universe and patches: repeated while an operation changes them.
  public func journal() throws(CodedError) -> (universe: UInt64, patches: [LoadedPatch]) {
    var attempts = 0
    while true {
      // In this order; an empty list needs no other look.
      let words = try memory.words([ext.operation, ext.universe, ext.patches, ext.operation])
      let before = words[0]
      let universe = try checked(universe: words[1])
      do {
        let patches = try loadedPatches(from: words[2])
        let after = words[2] == 0 ? words[3] : try memory.load(ext.operation, as: UInt64.self)
        // A tool that died in a change leaves the word odd for good; what it left is then read as it stands.
        if (before == after && before & 1 == 0) || attempts > 60 { return (universe, patches) }
      } catch {
        // A list that is being unlinked may lead into freed memory, for as long as the other tool is off the processor.
        if attempts > 500 || process.hasEnded { throw error }
      }
      attempts += 1
      if attempts > 20 { usleep(500) }
    }
  }
}
