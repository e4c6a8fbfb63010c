import Diagnostics
import Glibc
import Inferior
import LivePatch

/// `ulp.Process`: a process that Lua holds. Closing it lets go of its descriptors; it never held a thread.
final class ProcessHandle {
  let pid: pid_t
  private var target: TargetProcess?

  init(_ target: TargetProcess) {
    self.target = target
    pid = target.pid
  }

  func open() throws(CodedError) -> TargetProcess {
    guard let target else {
      throw CodedError(.handleClosed, "the handle on process \(pid) is closed", data: ["pid": .integer(Int64(pid))])
    }
    return target
  }

  var isOpen: Bool { target != nil }

  /// Others may still refer to the process, until Lua's collector comes by: what was learnt of it goes at once.
  func close() {
    target?.forget()
    target = nil
  }
}

/// `ulp.Runtime`: our runtime in a process.
final class RuntimeHandle {
  let process: ProcessHandle
  private let runtime: PulpRuntime

  init(_ process: ProcessHandle, _ runtime: PulpRuntime) {
    self.process = process
    self.runtime = runtime
  }

  func open() throws(CodedError) -> PulpRuntime {
    _ = try process.open()
    return runtime
  }
}

/// `ulp.SuseRuntime`: SUSE's runtime in a process.
final class SuseHandle {
  let process: ProcessHandle
  private let runtime: SuseRuntime

  init(_ process: ProcessHandle, _ runtime: SuseRuntime) {
    self.process = process
    self.runtime = runtime
  }

  func open() throws(CodedError) -> SuseRuntime {
    _ = try process.open()
    return runtime
  }
}

/// `ulp.Plan`: a plan as Lua holds it.
final class PlanHandle {
  let plan: PatchPlan
  init(_ plan: PatchPlan) { self.plan = plan }
}

/// `ulp.Container`: a container file that stays open.
final class ContainerHandle {
  let container: Container
  init(_ container: Container) { self.container = container }
}
