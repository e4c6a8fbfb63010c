import Diagnostics
import ELF
import Glibc
import Tracing

extension TargetProcess {
  /// Code of a function that lies elsewhere: compilers move what is rarely run (`NAME.cold`) and split off or copy parts of a
  /// body (`.part`, `.isra`, `.constprop`). A thread in one of them is inside the function, without a frame that says so.
  ///
  /// The file's `.symtab` names them. In a stripped file they are found by the jumps that lead there: to code that `.eh_frame`
  /// describes, that no symbol names, and that has no room before it as every function of a prepared library has.
  public func fragments(of body: Range<UInt64>) throws(CodedError) -> [Range<UInt64>] {
    guard let library = try library(containing: body.lowerBound) else { return [] }
    if let symbols = fileSymbols(of: library), symbols.count > 1 { return splitParts(ofFunctionAt: body.lowerBound) }
    return try jumpedTo(from: body, library)
  }

  private func jumpedTo(from body: Range<UInt64>, _ library: LoadedLibrary) throws(CodedError) -> [Range<UInt64>] {
    let bytes = memory.readPrefix(body.lowerBound, count: Int(min(body.upperBound - body.lowerBound, 1 << 18)))
    guard let table = UnwindTable(library, memory) else { return [] }
    var found: Set<Range<UInt64>> = []
    // Jcc rel32 is 0f 80..8f, JMP rel32 is e9 (Intel SDM). Not every such byte begins an instruction: a piece of code that is
    // kept out of for nothing does no harm.
    for index in 0..<max(0, bytes.count - 5) {
      let isConditional = bytes[index] == 0x0f && bytes[index + 1] & 0xf0 == 0x80
      guard isConditional || bytes[index] == 0xe9 else { continue }
      let place = index + (isConditional ? 2 : 1)
      guard place + 4 <= bytes.count else { continue }
      let distance = bytes[place..<place + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      let target = body.lowerBound &+ UInt64(place + 4) &+ UInt64(bitPattern: Int64(Int32(bitPattern: distance)))
      guard !body.contains(target), library.image.textRanges.contains(where: { $0.contains(target) }),
        let piece = table.piece(around: target), isFragment(piece, library)
      else { continue }
      found.insert(piece)
    }
    return found.sorted { $0.lowerBound < $1.lowerBound }
  }

  private func isFragment(_ piece: Range<UInt64>, _ library: LoadedLibrary) -> Bool {
    if (try? library.image.function(containing: RemoteAddress(piece.lowerBound))) ?? nil != nil { return false }
    let before = memory.readPrefix(piece.lowerBound &- 14, count: 14)
    return !before.allSatisfy { $0 == 0x90 } && !before.starts(with: [0xff, 0x25, 0, 0, 0, 0])
  }
}

/// The starts of all pieces of code that `.eh_frame` describes, out of the search table in `.eh_frame_hdr` (LSB core
/// specification, "The .eh_frame_hdr section"); in ascending order. The table is the target's memory: bounded.
private struct UnwindTable {
  private let starts: [UInt64]
  private let end: UInt64

  init?(_ library: LoadedLibrary, _ memory: ProcessMemory) {
    guard let header = library.image.programHeaders.first(where: { $0.type == 0x6474_e550 }) else { return nil }  // PT_GNU_EH_FRAME
    let place = header.address &+ library.bias
    // Version 1; the count as udata4, the table as sdata4 relative to the header: what every linker writes.
    guard let head = try? memory.read(place, count: 12), head[0] == 1, head[2] == 0x03, head[3] == 0x3b else { return nil }
    let count = head[8..<12].reversed().reduce(0) { $0 << 8 | Int($1) }
    guard count > 0, count < 1 << 21, UInt64(12 + count * 8) <= header.memorySize, let table = try? memory.read(place &+ 12, count: count * 8)
    else { return nil }
    starts = (0..<count).map { index in
      let offset = table[index * 8..<index * 8 + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return place &+ UInt64(bitPattern: Int64(Int32(bitPattern: offset)))
    }
    end = library.image.extent.upperBound
  }

  /// From the start of the piece to the start of the next; what lies between two pieces is never executed.
  func piece(around address: UInt64) -> Range<UInt64>? {
    var low = 0
    var high = starts.count
    while low < high {
      let middle = (low + high) / 2
      if starts[middle] <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let next = low < starts.count ? starts[low] : end
    return starts[low - 1] < next && next - starts[low - 1] < 1 << 20 ? starts[low - 1]..<next : nil
  }
}
