import Diagnostics
import ELF
import Inferior

extension TargetProcess {
  /// All code of the function at an address: its body, and what the compiler has split off. A thread in it is inside.
  ///
  /// - Parameter size: of the body, where that is known better than by the process's own symbols.
  func code(ofFunctionAt address: UInt64, size known: UInt64 = 0) throws(CodedError) -> [Range<UInt64>] {
    let size = known > 0 ? known : try functionSize(address)
    let (end, overflow) = address.addingReportingOverflow(max(size, 16))
    let body = address..<(overflow ? .max : end)
    return [body] + (try fragments(of: body))
  }

  /// From the symbol table; for a local function without one, up to the next exported function.
  private func functionSize(_ address: UInt64) throws(CodedError) -> UInt64 {
    guard let library = try library(containing: address) else { return 0 }
    let link = address &- library.bias
    var size: UInt64 = 0
    var next = UInt64.max
    try library.image.symbols().forEachDefined { symbol in
      guard symbol.isCode else { return }
      if symbol.value == link { size = max(size, symbol.size) }
      if symbol.value > link { next = min(next, symbol.value) }
    }
    if size > 0 { return size }
    let end = library.image.textRanges.first { $0.contains(address) }?.upperBound ?? address
    return min(next == .max ? end - address : next - link, end - address)
  }
}
