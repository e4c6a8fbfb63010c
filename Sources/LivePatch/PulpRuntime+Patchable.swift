import CPulpABI
import Diagnostics
import Inferior
import Tracing

extension PulpRuntime {
  /// Switches live patching in the process on or off; false when it is so already. Patches in force stay in force. State
  /// `PULP_EUSRBLOCKED` is what the opt-out variables set as well, so this lifts them. Fails with `runtime.disabled` in any
  /// other state: that is an error, which toggling must not hide.
  public func setPatchable(_ enabled: Bool) throws(CodedError) -> Bool {
    if try !checkedState(leadingTo: enabled) { return false }
    let session = try ChangeSession(self)
    defer { withExtendedLifetime(session) {} }
    guard try checkedState(leadingTo: enabled) else { return false }
    try memory.store(enabled ? 0 : Int32(PULP_EUSRBLOCKED.rawValue), to: ext.error_state)
    return true
  }

  /// Whether the state has to be changed.
  private func checkedState(leadingTo enabled: Bool) throws(CodedError) -> Bool {
    let state = try errorState()
    guard state == 0 || state == Int32(PULP_EUSRBLOCKED.rawValue) else { throw disabled(state) }
    return (state == 0) != enabled
  }

  public func disabled(_ state: Int32) -> CodedError {
    let pid = process.pid
    var error = CodedError(
      .runtimeDisabled, "live patching is switched off in process \(pid) (state \(state))",
      hint: "`ulpsh set_patchable enable -p \(pid)` switches it on", data: ["pid": .integer(Int64(pid)), "error_state": .integer(Int64(state))])
    if state != Int32(PULP_EUSRBLOCKED.rawValue) {
      error.message = "process \(pid) is in quarantine after an internal error (state \(state)); its patches stay as they are"
      error.specificHint = "do not patch it; restart it when you can"
    }
    return error
  }
}
