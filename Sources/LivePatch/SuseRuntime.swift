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

  static let entries = ["__ulp_trigger", "__ulp_revert_all", "__ulp_check_patched", "__ulp_get_global_universe", "__ulp_enable_or_disable_patching"]
  /// What every command of SUSE's own tool needs, and what came later: the first with 0.2.9, 0.3.0 (not in 0.3.6) and 0.3.1.
  private static let mandatory = ["__ulp_trigger", "__ulp_revert_all", "__ulp_check_patched", "__ulp_get_global_universe", "__ulp_state", "__ulp_metadata_buffer"]
  private static let optional = ["__ulp_error_state", "__ulp_enable_or_disable_patching", "__ulp_insn_queue", "__ulp_version", "__ulp_msg_queue"]
  static let metadataSize = 524_288

  /// Finds the runtime. Fails with `runtime.missing`, `runtime.version` (before 0.2.0, which took its metadata out of a file).
  public init(in process: TargetProcess) throws(CodedError) {
    self.process = process
    memory = process.memory
    guard let library = try process.libraries().first(where: { $0.name.hasPrefix("libpulp.so") }) else {
      throw CodedError(
        .runtimeMissing, "libpulp.so is not loaded in process \(process.pid)", data: ["pid": .integer(Int64(process.pid))])
    }
    self.library = library
    var symbols: [String: UInt64] = [:]
    for name in SuseRuntime.mandatory + SuseRuntime.optional {
      guard let address = try library.image.address(of: name) else {
        if SuseRuntime.optional.contains(name) { continue }
        throw CodedError(
          .runtimeVersion, "\(printable(library.path)) in process \(process.pid) exports no \(name)",
          hint: "libpulp 0.2.0 or later is needed", data: ["pid": .integer(Int64(process.pid)), "symbol": .text(name)])
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

  /// Whether this version exports a name.
  func has(_ name: String) -> Bool { symbols[name] != nil }

  /// Whether text is written by the tool. Versions without a queue write it themselves, in the middle of a call.
  public var leavesWrites: Bool { has("__ulp_insn_queue") }

  func lacks(_ name: String) -> CodedError {
    CodedError(
      .runtimeVersion, "the libpulp in process \(process.pid) is too old: it has no \(name)", hint: "use a newer libpulp",
      data: ["pid": .integer(Int64(process.pid)), "symbol": .text(name)])
  }

  func corrupt(_ reason: String) -> CodedError {
    CodedError(.runtimeCorrupt, "libpulp.so in process \(process.pid): \(reason)", data: ["pid": .integer(Int64(process.pid))])
  }

  // MARK: - What it says

  /// `A.B.C`; nil before 0.3.1, which does not tell.
  public func version() throws(CodedError) -> String? {
    has("__ulp_version") ? String(decoding: try memory.cstring(self["__ulp_version"], limit: 64), as: UTF8.self) : nil
  }

  /// Whether records have a time: from 0.3.1 on. What cannot be parsed counts as older.
  private func hasTimes() throws(CodedError) -> Bool {
    let parts = try version()?.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) ?? -1 } ?? []
    guard parts.count == 3, parts.allSatisfy({ 0...65535 ~= $0 }) else { return false }
    return (parts[0], parts[1], parts[2]) >= (0, 3, 1)
  }

  /// 0 as well before 0.2.9, which cannot be switched off.
  public func errorState() throws(CodedError) -> Int32 {
    has("__ulp_error_state") ? try memory.load(self["__ulp_error_state"], as: Int32.self) : 0
  }

  /// The state that ulpsh leaves behind when a call outlasts its time limit: whoever comes next must not take it for over.
  static let lateCall: Int32 = 62

  func setErrorState(_ state: Int32) throws(CodedError) {
    if has("__ulp_error_state") { try memory.store(state, to: self["__ulp_error_state"]) }
  }

  /// Whether a tool died, or gave up, before the writes of its call were made.
  public func isPending() throws(CodedError) -> Bool {
    if try errorState() == SuseRuntime.lateCall { return true }
    return try !queue().isEmpty
  }

  public func disabled(_ state: Int32) -> CodedError {
    let (text, hint) = switch state {
    case 280: ("live patching is switched off in process \(process.pid)", "`ulpsh set_patchable enable -p \(process.pid)` switches it on")
    case SuseRuntime.lateCall: ("a call of an earlier ulpsh in process \(process.pid) has not returned in its time", "`ulpsh recover \(process.pid)`")
    case 256: (
      "libpulp in process \(process.pid) disabled itself with error 256: a patch of another tool failed half-way, or that tool met a contended lock",
      "compare `ulpsh check` with what should be applied; it cannot be patched any further")
    case 285: (
      "libpulp in process \(process.pid) disabled itself with error 285: another tool left its instruction queue unattended",
      "it cannot be patched any further; restart it when you can")
    default: ("libpulp in process \(process.pid) disabled itself with error \(state)", "look at `ulpsh messages -p \(process.pid)`")
    }
    return CodedError(
      .runtimeDisabled, text, hint: hint, data: ["pid": .integer(Int64(process.pid)), "error_state": .integer(Int64(state))])
  }

  public func isSelector(_ address: UInt64) -> Bool { false }
  public var remembersContainers: Bool { false }
  public func inspectedJournal() throws(CodedError) -> (universe: UInt64, patches: [LoadedPatch], lost: [LostPatch]) {
    let patches = try appliedPatches()
    // Writes that are not made yet are no loss.
    var found: [LostPatch] = []
    if try !isPending() {
      for patch in patches { if let lost = try lost(patch) { found.append(lost) } }
    }
    return (1, patches, found)
  }

  /// Its list knows nothing of a library that the program unloads.
  private func lost(_ patch: LoadedPatch) throws(CodedError) -> LostPatch? {
    if patch.units.isEmpty { return nil }
    if try isDiverted(patch) { return nil }
    let name = printable(patch.libraryName)
    let isThere = (try? process.libraries().contains { $0.answers(to: patch.libraryName) }) ?? false
    return LostPatch(patch: patch, reason: isThere ? "\(name) was unloaded and loaded again, or its detours were taken away" : "\(name) was unloaded")
  }

  /// An applied-patch record has 80 bytes, 72 before 0.3.1, one of its functions 40. No honest process has more than this many.
  private static let recordLimit = 4096
  private static let unitLimit = 1 << 18

  /// The patches in force, newest first. The lists are the target's own memory: bounded, and a cycle is `runtime.corrupt`.
  public func appliedPatches() throws(CodedError) -> [LoadedPatch] {
    var patches: [LoadedPatch] = []
    let hasTimes = try self.hasTimes()
    var node = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
    var seen: Set<UInt64> = []
    var units = 0
    while node != 0 {
      guard seen.insert(node).inserted, seen.count <= SuseRuntime.recordLimit else { throw corrupt("its patch list is a cycle or too long") }
      let words = try memory.load(node, count: hasTimes ? 10 : 9, as: UInt64.self)
      let functions = try self.units(from: words[6], limit: SuseRuntime.unitLimit - units)
      units += functions.count
      patches.append(
        LoadedPatch(
          address: node, id: try memory.read(node, count: 32), libraryName: try target(text(words[4]), functions), path: try text(words[5]),
          units: functions, appliedUniverse: 1, revertedUniverse: 0, container: 0..<0, targetBias: 0, targetBuildID: [],
          time: hasTimes ? words[9] : 0, flags: 0, operationNext: 0, handle: 0))
      node = words[7]
    }
    return patches
  }

  /// The program is recorded under what it calls itself; everywhere else its file's name is meant.
  private func target(_ recorded: String, _ functions: [LoadedPatch.Unit]) throws(CodedError) -> String {
    guard let entry = functions.first?.entry, let program = try process.libraries().first, program.isMain, program.image.extent.contains(entry)
    else { return recorded }
    return program.name
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
    guard has("__ulp_msg_queue") else { throw lacks("__ulp_msg_queue") }
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
