import CElf
import Diagnostics

/// The places where the compiler left nops, from `__patchable_function_entries` (`-fpatchable-function-entry=N,M`).
///
/// Each entry is the address of the *first* nop, M bytes before the function's symbol.
public struct PatchableEntries: Sendable {
  /// Ascending link addresses.
  public let addresses: [UInt64]

  init?(of file: ELFFile) throws(CodedError) {
    let sections = try file.sections().filter { $0.name == "__patchable_function_entries" && $0.occupiesFile }
    guard !sections.isEmpty else { return nil }
    // Sections that share their bytes would multiply the work: all of them together must fit into the file.
    let total = sections.reduce(UInt64(0)) { $0.addingReportingOverflow($1.size).overflow ? UInt64.max : $0 + $1.size }
    guard total <= UInt64(file.bytes.size) else { throw file.bytes.malformed("its patchable entries are longer than the file") }
    var found: [UInt64] = []
    var relocations: RelativeRelocations?
    for section in sections {
      let stored = try file.contents(of: section)
      for index in 0..<stored.count / 8 {
        var value: UInt64 = stored.integer(at: index * 8) ?? 0
        // GNU ld stores the addend here as well; other linkers leave zeros and only write the relocation.
        if value == 0 {
          if relocations == nil { relocations = try RelativeRelocations(of: file) }
          value = relocations!.addend(at: section.address &+ UInt64(index * 8)) ?? 0
        }
        if value != 0 { found.append(value) }
      }
    }
    addresses = found.sorted()
  }

  /// The entry whose nops lead up to the function at `address`: the nearest one at or before it, at most 64 bytes away.
  public func entry(leadingTo address: UInt64) -> UInt64? {
    var low = 0
    var high = addresses.count
    while low < high {
      let middle = (low + high) / 2
      if addresses[middle] <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address - addresses[low - 1] <= 64 else { return nil }
    return addresses[low - 1]
  }
}

/// The RELATIVE relocations of DT_RELA: place → addend. (DT_RELR keeps addends in place, so it needs no table.)
struct RelativeRelocations {
  private let sorted: [(place: UInt64, addend: UInt64)]

  init(of file: ELFFile) throws(CodedError) {
    var found: [(place: UInt64, addend: UInt64)] = []
    let dynamic = try file.dynamicSection()
    if let place = dynamic?.value(DT_RELA), let size = dynamic?.value(DT_RELASZ) {
      guard size <= UInt64(file.bytes.size) else { throw file.bytes.malformed("its relocations are longer than the file") }
      let table = try file.read(at: LinkAddress(place), count: Int(size))
      for index in 0..<table.count / 24 {
        guard let info: UInt64 = table.integer(at: index * 24 + 8), info & 0xffff_ffff == UInt64(R_X86_64_RELATIVE) else {
          continue
        }
        found.append((table.integer(at: index * 24) ?? 0, table.integer(at: index * 24 + 16) ?? 0))
      }
    }
    sorted = found.sorted { $0.place < $1.place }
  }

  func addend(at place: UInt64) -> UInt64? {
    var low = 0
    var high = sorted.count
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].place < place { low = middle + 1 } else { high = middle }
    }
    return low < sorted.count && sorted[low].place == place ? sorted[low].addend : nil
  }
}
