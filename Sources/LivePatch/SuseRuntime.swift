import Diagnostics
import ELF
import Inferior
import Tracing

/// SUSE's libpulp.so inside one process: where its exported parts are, and what they say. Reading stops nothing.
///
/// Facts: "libpulp interface", chapters 3 (symbols and layouts) and 4 (instruction queue).
public final class SuseRuntime: LivePatchRuntime {
  public let process: TargetProcess
  let library: LoadedLibrary
  let memory: ProcessMemory
  private let symbols: [String: UInt64]

  /// What every command of SUSE's own tool needs.
  static let entries = ["__ulp_trigger", "__ulp_revert_all", "__ulp_check_patched", "__ulp_get_global_universe", "__ulp_enable_or_disable_patching"]
  static let variables = ["__ulp_state", "__ulp_metadata_buffer", "__ulp_error_state", "__ulp_msg_queue", "__ulp_insn_queue", "__ulp_version"]
  static let metadataSize = 524_288

  /// Finds the runtime. Fails with `runtime.missing`, `runtime.version` (before 0.3.1, or without an instruction queue).
  public init(in process: TargetProcess) throws(CodedError) {
    self.process = process
    memory = process.memory
    guard let library = try process.libraries().first(where: { $0.name.hasPrefix("libpulp.so") }) else {
      throw CodedError(
        .runtimeMissing, "libpulp.so is not loaded in process \(process.pid)", data: ["pid": .integer(Int64(process.pid))])
    }
    self.library = library
    var symbols: [String: UInt64] = [:]
    for name in SuseRuntime.entries + SuseRuntime.variables {
      guard let address = try library.image.address(of: name) else {
        throw CodedError(
          .runtimeVersion, "\(printable(library.path)) in process \(process.pid) exports no \(name)",
          hint: "libpulp 0.3.1 or later is needed", data: ["pid": .integer(Int64(process.pid)), "symbol": .text(name)])
      }
      // Arithmetic with it is safe then.
      guard address.rawValue >= 4096, address.rawValue < 1 << 56 else {
        throw CodedError(
          .runtimeCorrupt, "libpulp.so in process \(process.pid): \(name) is nowhere", data: ["pid": .integer(Int64(process.pid))])
      }
      symbols[name] = address.rawValue
    }
    self.symbols = symbols
    guard try memory.load(self["__ulp_state"], as: UInt8.self) != 0 else {
      throw CodedError(
        .callBusy, "libpulp.so in process \(process.pid) has not finished its constructors", hint: "try again in a moment",
        data: ["pid": .integer(Int64(process.pid))])
    }
  }

  /// The address of an exported name that is known to be there.
  subscript(name: String) -> UInt64 { symbols[name] ?? 0 }

  func corrupt(_ reason: String) -> CodedError {
    CodedError(.runtimeCorrupt, "libpulp.so in process \(process.pid): \(reason)", data: ["pid": .integer(Int64(process.pid))])
  }

  // MARK: - What it says

  /// `A.B.C`
  public func version() throws(CodedError) -> String {
    String(decoding: try memory.cstring(self["__ulp_version"], limit: 64), as: UTF8.self)
  }

  public func errorState() throws(CodedError) -> Int32 { try memory.load(self["__ulp_error_state"], as: Int32.self) }

  public func disabled(_ state: Int32) -> CodedError {
    CodedError(
      .runtimeDisabled,
      state == 280 ? "live patching is switched off in process \(process.pid)"
        : "libpulp in process \(process.pid) disabled itself with error \(state)",
      hint: state == 280 ? "`ulpsh set_patchable enable -p \(process.pid)` switches it on" : "look at `ulpsh messages -p \(process.pid)`",
      data: ["pid": .integer(Int64(process.pid)), "error_state": .integer(Int64(state))])
  }

  public func isSelector(_ address: UInt64) -> Bool { false }
  public var remembersContainers: Bool { false }
  public func inspectedJournal() throws(CodedError) -> (universe: UInt64, patches: [LoadedPatch], lost: [LostPatch]) {
    (1, try appliedPatches(), [])
  }

  /// An applied-patch record has 80 bytes, one of its functions 40. No honest process has more than this many.
  private static let recordLimit = 4096
  private static let unitLimit = 1 << 18

  /// The patches in force, newest first. The lists are the target's own memory: bounded, and a cycle is `runtime.corrupt`.
  public func appliedPatches() throws(CodedError) -> [LoadedPatch] {
    var patches: [LoadedPatch] = []
    var node = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
    var seen: Set<UInt64> = []
    var units = 0
    while node != 0 {
      guard seen.insert(node).inserted, seen.count <= SuseRuntime.recordLimit else { throw corrupt("its patch list is a cycle or too long") }
      let words = try memory.load(node, count: 10, as: UInt64.self)
      let functions = try self.units(from: words[6], limit: SuseRuntime.unitLimit - units)
      units += functions.count
      patches.append(
        LoadedPatch(
          address: node, id: try memory.read(node, count: 32), libraryName: try text(words[4]), path: try text(words[5]),
          units: functions, appliedUniverse: 1, revertedUniverse: 0, container: 0..<0, targetBias: 0, targetBuildID: [],
          time: words[9], flags: 0, operationNext: 0, handle: 0))
      node = words[7]
    }
    return patches
  }

  private func units(from first: UInt64, limit: Int) throws(CodedError) -> [LoadedPatch.Unit] {
    var found: [LoadedPatch.Unit] = []
    var seen: Set<UInt64> = []
    var node = first
    while node != 0 {
      guard seen.insert(node).inserted, found.count < limit else { throw corrupt("a patch's list of functions is a cycle or too long") }
      let words = try memory.load(node, count: 5, as: UInt64.self)
      guard words[0] >= 4096, words[0] < 1 << 56 else { throw corrupt("a patched function is malformed") }
      let isEndbr64 = memory.readPrefix(words[0], count: 4) == [0xf3, 0x0f, 0x1e, 0xfa]
      found.append(.init(entry: words[0], replacement: words[1], pointOffset: isEndbr64 ? 4 : 0))
      node = words[4]
    }
    return found
  }

  private func text(_ address: UInt64) throws(CodedError) -> String {
    String(decoding: try memory.cstring(address, limit: 4096), as: UTF8.self)
  }

  /// Its messages, oldest first, without the NULs between them.
  public func messages() throws(CodedError) -> String {
    let size = 2_097_152
    let queue = self["__ulp_msg_queue"]
    let indexes = try memory.load(queue + UInt64(size), count: 3, as: UInt32.self)
    let (bottom, distance) = (Int(indexes[1]), Int(indexes[2]))
    guard bottom < size, distance <= size else { throw corrupt("its message queue is malformed") }
    let first = min(distance, size - bottom)
    let bytes = try memory.read(queue + UInt64(bottom), count: first) + memory.read(queue, count: distance - first)
    return String(decoding: bytes.filter { $0 != 0 }, as: UTF8.self)
  }
}
