import Diagnostics
import ELF
import Inferior

extension PatchPlanner {
  /// For an object that asks for an executable stack, and for one that does not say (no PT_GNU_STACK), glibc's loader makes all
  /// stacks of the process writable and executable, and leaves them so.
  func checkStack(_ container: Container) throws(CodedError) {
    let header = container.file.programHeaders.first { $0.type == 0x6474_e551 }  // PT_GNU_STACK
    guard header?.isExecutable ?? true else { return }
    if process.map.mappings.contains(where: { $0.path == "[stack]" && $0.isExecutable }) { return }
    throw CodedError(
      .containerExecutableStack,
      "\(printable(container.path)) asks for executable stacks: loading it would make those of all threads of process \(process.pid) executable",
      data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path)])
  }
}
