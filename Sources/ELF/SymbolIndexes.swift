/// Chained hash over the names of a table. Chains, not probing: whatever the names are, building it is linear.
struct NameIndex {
  /// First symbol of each bucket; 0, the empty symbol, ends a chain.
  private var heads: [UInt32]
  private var next: [UInt32]

  init(_ table: SymbolTable) {
    let capacity = max(16, table.count.nextPowerOfTwo)
    heads = [UInt32](repeating: 0, count: capacity)
    next = [UInt32](repeating: 0, count: table.count)
    // Backwards, so that chains are in table order.
    for index in stride(from: table.count - 1, to: 0, by: -1) {
      guard let offset: UInt32 = table.symbols.integer(at: index * SymbolTable.entrySize), offset != 0 else { continue }
      let bucket = Int(table.strings.stringHash(at: Int(offset))) & (capacity - 1)
      next[index] = heads[bucket]
      heads[bucket] = UInt32(index)
    }
  }

  /// Indexes of the symbols whose name may be `name`.
  func candidates(for name: [UInt8]) -> [Int] {
    var found: [Int] = []
    var index = heads[Int(name.stringHash(at: 0)) & (heads.count - 1)]
    while index != 0 {
      found.append(Int(index))
      index = next[Int(index)]
    }
    return found
  }
}

/// The bytes of one function.
struct FunctionRange {
  let start: UInt64
  let end: UInt64
  let index: Int

  static func find(_ address: UInt64, in sorted: [FunctionRange]) -> FunctionRange? {
    var low = 0
    var high = sorted.count
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address < sorted[low - 1].end else { return nil }
    return sorted[low - 1]
  }
}

extension SymbolTable {
  /// Functions by start address, one for each. A symbol without size (hand-written assembly) covers its first byte only.
  func functionRanges() -> [FunctionRange] {
    var found: [(range: FunctionRange, rank: Int)] = []
    forEachDefined { entry in
      guard entry.isCode else { return }
      let (end, overflow) = entry.value.addingReportingOverflow(max(1, entry.size))
      guard !overflow else { return }
      let rank = (entry.binding == .global ? 0 : entry.binding == .weak ? 1 : 2) + (entry.size == 0 ? 4 : 0)
      found.append((FunctionRange(start: entry.value, end: end, index: entry.index), rank))
    }
    found.sort { ($0.range.start, $0.rank, $0.range.index) < ($1.range.start, $1.rank, $1.range.index) }
    var ranges: [FunctionRange] = []
    ranges.reserveCapacity(found.count)
    for (range, _) in found where ranges.last?.start != range.start { ranges.append(range) }
    return ranges
  }
}

extension Int {
  /// The smallest power of two that is not less; for positive numbers below 2^62.
  var nextPowerOfTwo: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}
