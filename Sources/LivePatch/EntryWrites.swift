import CPulpABI
import Diagnostics
import Tracing

/// The writes that bring a set of entries into a state: decided before the stop, carried out in it.
struct EntryWrites {
  /// Address fields of paddings (8 bytes each), then the two bytes at points. Pieces of one kind and page are written together.
  private(set) var fields: [(address: UInt64, bytes: [UInt8])] = []
  private(set) var points: [(address: UInt64, bytes: [UInt8])] = []

  /// What the entries must be when the writes are carried out, from the padding's first byte to the point's last.
  private(set) var expected: [(address: UInt64, bytes: [UInt8])] = []

  mutating func point(at address: UInt64, _ bytes: [UInt8]) { points.append((address, bytes)) }
  mutating func field(at address: UInt64, _ value: UInt64) {
    fields.append((address, withUnsafeBytes(of: value) { [UInt8]($0) }))
  }

  /// - Parameter bytes: `EntryForm.before` bytes before the entry and `EntryForm.after` from it on, as they are now.
  mutating func expect(_ bytes: [UInt8], at entry: UInt64) {
    let first = EntryForm.before - EntryForm.padding
    expected.append((entry - UInt64(EntryForm.padding), Array(bytes[first..<first + EntryForm.extent])))
  }

  var count: Int { fields.count + points.count }

  /// Writes everything. The world is stopped; paddings come before points. Fails with `entry.modified`, before anything is
  /// written, when an entry is not as it was when the writes were decided: the program may have unloaded the library.
  func carryOut(_ memory: ProcessMemory) throws(CodedError) {
    try verify(memory)
    try writeAll(memory)
  }

  /// Puts back what was expected; false when that does not succeed either.
  func takeBack(_ memory: ProcessMemory) -> Bool {
    do throws(CodedError) {
      for entry in expected.reversed() { try memory.writeText(entry.bytes, to: entry.address) }
      return true
    } catch {
      return false
    }
  }

  /// Fails with `entry.modified`, or `memory.unreadable`.
  func verify(_ memory: ProcessMemory) throws(CodedError) {
    let found = try memory.read(expected.map(\.address), each: EntryForm.extent)
    for (index, entry) in expected.enumerated() {
      let start = index * EntryForm.extent
      guard found[start..<start + EntryForm.extent].elementsEqual(entry.bytes) else {
        throw CodedError(
          .entryModified, "the entry at \(hex(entry.address + UInt64(EntryForm.padding))) of process \(memory.pid) changed in the meantime",
          data: ["pid": .integer(Int64(memory.pid)), "address": .integer(Int64(bitPattern: entry.address))])
      }
    }
  }

  func writeAll(_ memory: ProcessMemory) throws(CodedError) {
    for run in EntryWrites.runs(fields) + EntryWrites.runs(points) {
      if run.count == 1 {
        try memory.writeText(run[0].bytes, to: run[0].address)
      } else {
        try EntryWrites.writeRun(run, memory)
      }
    }
  }

  /// Groups writes by page, when a page has several: one read and one write then cost less than each by itself.
  static func runs(_ writes: [(address: UInt64, bytes: [UInt8])]) -> [[(address: UInt64, bytes: [UInt8])]] {
    var runs: [[(address: UInt64, bytes: [UInt8])]] = []
    for write in writes.sorted(by: { $0.address < $1.address }) {
      if let last = runs.last?.first, last.address / 4096 == (write.address + UInt64(write.bytes.count) - 1) / 4096 {
        runs[runs.count - 1].append(write)
      } else {
        runs.append([write])
      }
    }
    return runs
  }

  private static func writeRun(_ run: [(address: UInt64, bytes: [UInt8])], _ memory: ProcessMemory) throws(CodedError) {
    let start = run[0].address
    let last = run[run.count - 1]
    var image = try memory.read(start, count: Int(last.address - start) + last.bytes.count)
    for write in run {
      let offset = Int(write.address - start)
      image.replaceSubrange(offset..<offset + write.bytes.count, with: write.bytes)
    }
    try memory.writeText(image, to: start)
  }
}
