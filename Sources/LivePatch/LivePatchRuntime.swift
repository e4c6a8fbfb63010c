import Diagnostics
import Inferior

/// What planning asks of the runtime in a process, ours or SUSE's.
public protocol LivePatchRuntime {
  var process: TargetProcess { get }
  /// The generation in force, the patches that it knows, and those whose library went away. SUSE's tells no generation, and
  /// every patch that it lists is in force.
  func inspectedJournal() throws(CodedError) -> (universe: UInt64, patches: [LoadedPatch], lost: [LostPatch])
  /// 0, or the SUSE error number with which patching is switched off.
  func errorState() throws(CodedError) -> Int32
  func disabled(_ state: Int32) -> CodedError
  /// Whether an address is code of its own through which detours lead.
  func isSelector(_ address: UInt64) -> Bool
  /// Whether it still knows containers that are out of force, so that loading one again can be judged.
  var remembersContainers: Bool { get }
}

extension PulpRuntime: LivePatchRuntime {
  public func isSelector(_ address: UInt64) -> Bool { pool.contains(address) }
  public var remembersContainers: Bool { true }
}

/// The runtime in a process: ours, or else SUSE's. Fails with `runtime.missing`, `runtime.version`, `runtime.corrupt`.
public func findRuntime(in process: TargetProcess) throws(CodedError) -> any LivePatchRuntime {
  do throws(CodedError) { return try PulpRuntime(in: process) } catch {
    guard error.code == .runtimeForeign else { throw error }
    return try SuseRuntime(in: process)
  }
}
