import CDw
import Diagnostics

/// A variable with a fixed place, as DWARF describes it.
public struct DebugVariable: Sendable, Equatable {
  /// Link address, or offset in the module's TLS block.
  public let place: UInt64
  public let isThreadLocal: Bool
  /// The source file that was compiled.
  public let unit: String
  /// The function of which it is a static variable; nil outside of functions.
  public let function: String?
}

/// What DWARF tells of the functions of an object, as far as it concerns patching them.
public struct DebugFunctions: Sendable {
  /// Linkage names of functions whose code the compiler also put into callers.
  public internal(set) var inlined: Set<String> = []
  /// Source files compiled with `-fipa-ra` in force: callers there know which registers a callee leaves alone.
  public internal(set) var registerAllocating: [String] = []
}

extension ELFFile {
  /// The variables of this name, whatever symbol tables say; empty without debug information. `lost` are declared there
  /// and have no place, because the compiler removed them. At most 64 are told.
  public func debugVariables(named name: String) -> (found: [DebugVariable], lost: Int) {
    guard !name.utf8.isEmpty, !name.utf8.contains(0) else { return ([], 0) }
    var variables = [ul_variable](repeating: ul_variable(), count: 64)
    var lost: Int32 = 0
    let count = ul_debug_variables(bytes.descriptor, name, &variables, Int32(variables.count), &lost)
    let found = variables.prefix(max(0, Int(count))).map { variable in
      let function = withUnsafeBytes(of: variable.function) { text($0) }
      return DebugVariable(
        place: variable.place, isThreadLocal: variable.is_tls != 0,
        unit: withUnsafeBytes(of: variable.unit) { text($0) }, function: function.isEmpty ? nil : function)
    }
    return (found, Int(lost))
  }

  /// Nil when the file has no debug information, or libdw is not installed.
  public func debugFunctions() -> DebugFunctions? {
    var result = DebugFunctions()
    let status = withUnsafeMutablePointer(to: &result) { pointer in
      ul_debug_functions(
        bytes.descriptor, pointer,
        { context, name, producer in
          let result = context!.assumingMemoryBound(to: DebugFunctions.self)
          guard result.pointee.registerAllocating.count < 1000, keepsRegisters(String(cString: producer)) else { return }
          result.pointee.registerAllocating.append(String(cString: name))
        },
        { context, name in
          _ = context!.assumingMemoryBound(to: DebugFunctions.self).pointee.inlined.insert(String(cString: name))
        })
    }
    return status == 0 ? result : nil
  }
}

private func text(_ buffer: UnsafeRawBufferPointer) -> String { String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self) }

/// Whether a compiler that was called like this (DW_AT_producer) had `-fipa-ra` in force: gcc has from -O2 on, and drops it
/// when entries are made patchable by option, not when that is done by attribute.
private func keepsRegisters(_ producer: String) -> Bool {
  guard producer.hasPrefix("GNU C") else { return false }
  let options = producer.split(separator: " ").map { Array($0.utf8) }
  func has(_ beginning: StaticString) -> Bool {
    beginning.withUTF8Buffer { wanted in options.contains { $0.starts(with: wanted) } }
  }
  if has("-fno-ipa-ra") || has("-fpatchable-function-entry=") || has("-pg") { return false }
  // Of several levels the last one counts.
  let levels: [StaticString] = ["-O2", "-O3", "-Os", "-Ofast"]
  let level = options.last { $0.starts(with: [0x2d, 0x4f]) }
  return has("-fipa-ra") || levels.contains { wanted in wanted.withUTF8Buffer { level?.elementsEqual($0) ?? false } }
}
