import Diagnostics
import ELF

extension TargetProcess {
  /// Whether a loaded object was compiled with patchable entries: the file that is mapped has a
  /// `__patchable_function_entries` section. An object whose file cannot be opened any more counts as unprepared.
  public func isPrepared(_ library: LoadedLibrary) -> Bool {
    guard let file = try? ELFFile(path: openablePath(of: library)), let entries = try? file.patchableEntries() else { return false }
    return !entries.addresses.isEmpty
  }
}
