import Testing

@testable import LivePatch

/// The bytes around an entry: what is put before it ends up right before, the rest is code that is no nop.
private func image(before: [UInt8], at entry: [UInt8]) -> [UInt8] {
  let body: [UInt8] = [0x55, 0x48, 0x89, 0xe5, 0x53, 0x50, 0x31, 0xc0]
  let front = [UInt8](repeating: 0xcc, count: EntryForm.before - before.count) + before
  return front + entry + body.prefix(EntryForm.after - entry.count)
}

private let nops = [UInt8](repeating: 0x90, count: 14)
private let endbr64: [UInt8] = [0xf3, 0x0f, 0x1e, 0xfa]
/// The longest nop of gcc's and binutils' alignment: data16 cs nopw 0(%rax,%rax,1), 11 bytes.
private let longNop: [UInt8] = [0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]
private let shortNop: [UInt8] = [0x0f, 0x1f, 0x00]

@Suite struct EntryFormTests {
  @Test(arguments: [14, 22, 32]) func oneByteNopsAreAPreparedEntry(padding: Int) {
    let front = [UInt8](repeating: 0x90, count: padding)
    #expect(EntryForm(image(before: front, at: [0x90, 0x90])) == .prepared(pointOffset: 0, mergesNops: true, paddingIsWritten: false))
    #expect(
      EntryForm(image(before: front, at: endbr64 + [0x90, 0x90])) == .prepared(pointOffset: 4, mergesNops: true, paddingIsWritten: false))
  }

  @Test(arguments: [UInt32(0), 4]) func aTwoByteNopNeedsNoMerging(offset: UInt32) {
    let lead = offset == 4 ? endbr64 : []
    #expect(
      EntryForm(image(before: nops, at: lead + [0x66, 0x90])) == .prepared(pointOffset: offset, mergesNops: false, paddingIsWritten: false))
    // As `ulp post` and newer assemblers write the padding.
    #expect(
      EntryForm(image(before: longNop + shortNop, at: lead + [0x66, 0x90]))
        == .prepared(pointOffset: offset, mergesNops: false, paddingIsWritten: false))
  }

  @Test(arguments: [UInt32(0), 4]) func armedAndDisarmedAreToldApart(offset: UInt32) {
    let lead = offset == 4 ? endbr64 : []
    let padding = EntryForm.paddingBytes(target: 0x7f12_3456_789a)
    #expect(padding == [0xff, 0x25, 0, 0, 0, 0, 0x9a, 0x78, 0x56, 0x34, 0x12, 0x7f, 0, 0])
    let jump: [UInt8] = offset == 4 ? [0xeb, 0xec] : [0xeb, 0xf0]
    #expect(EntryForm.jump(pointOffset: offset) == jump)
    #expect(EntryForm(image(before: padding, at: lead + jump)) == .armed(pointOffset: offset, target: 0x7f12_3456_789a))
    // A reverted function keeps its written padding: a thread may be in it.
    #expect(
      EntryForm(image(before: padding, at: lead + EntryForm.disarmed))
        == .prepared(pointOffset: offset, mergesNops: false, paddingIsWritten: true))
    // Staged and not armed: one-byte nops may still be there when a tool died between its writes.
    #expect(
      EntryForm(image(before: padding, at: lead + [0x90, 0x90])) == .prepared(pointOffset: offset, mergesNops: true, paddingIsWritten: true))
  }

  @Test func theJumpLeadsToThePadding() {
    // A short jump counts from its own end: point + 2 + displacement = entry - 14.
    for offset in [UInt32(0), 4] {
      let displacement = Int8(bitPattern: EntryForm.jump(pointOffset: offset)[1])
      #expect(Int(offset) + 2 + Int(displacement) == -EntryForm.padding)
    }
  }

  @Test func functionsWithoutRoomAreNotPrepared() {
    #expect(EntryForm(image(before: [], at: [0x90, 0x90])) == .notPrepared)
    #expect(EntryForm(image(before: [0xc3] + nops.dropLast(), at: [0x90, 0x90])) == .notPrepared)
    #expect(EntryForm(image(before: nops, at: [0x55, 0x48])) != .prepared(pointOffset: 0, mergesNops: true, paddingIsWritten: false))
    // Alignment of an ordinary function, whose first instruction is no nop.
    #expect(EntryForm(image(before: [0xc3] + longNop + shortNop, at: [0x55, 0x48])) == .notPrepared)
    #expect(EntryForm(image(before: [0xc3] + longNop + shortNop, at: endbr64 + [0x55, 0x48])) == .notPrepared)
  }

  /// Loops begin with jumps, and functions that only call another may be one: without our padding they are not ours.
  @Test(arguments: [[UInt8]([0xeb, 0xf0]), [0xeb, 0xec], [0xeb, 0xfe], [0xeb, 0x10]])
  func aShortJumpIsNoPatchableEntry(jump: [UInt8]) {
    for front in [nops, longNop + shortNop, [0xc3] + nops.dropLast()] {
      for lead in [[], endbr64] {
        switch EntryForm(image(before: front, at: lead + jump)) {
        case .prepared, .armed: Issue.record("\(jump) after \(front) is taken for an entry")
        case .notPrepared, .modified: break
        }
      }
    }
  }

  @Test(arguments: 0..<14) func everyByteOfThePaddingCounts(index: Int) {
    for value: UInt8 in [0x00, 0x0f, 0xc3, 0xcc, 0xe9, 0xff] {
      var front = nops
      front[index] = value
      let form = EntryForm(image(before: front, at: [0x90, 0x90]))
      #expect(form == .notPrepared, "\(value) at \(index)")
    }
  }

  @Test(arguments: 0..<6) func everyByteOfTheJumpSlotCounts(index: Int) {
    var padding = EntryForm.paddingBytes(target: 0x1000)
    padding[index] ^= 0x55
    #expect(EntryForm(image(before: padding, at: [0xeb, 0xf0])) == .notPrepared)
    #expect(EntryForm(image(before: padding, at: [0x66, 0x90])) == .notPrepared)
  }

  @Test func aProbeAtTheEntryIsSeen() {
    for bytes: [UInt8] in [[0xcc, 0x90], [0xe9, 0x12], [0x90, 0xcc], [0x0f, 0x0b]] {
      #expect(EntryForm(image(before: nops, at: bytes)) == .modified)
      #expect(EntryForm(image(before: nops, at: endbr64 + bytes)) == .modified)
    }
  }

  @Test func aBrokenEndbr64IsNone() {
    for index in 0..<4 {
      var broken = endbr64
      broken[index] ^= 1
      let form = EntryForm(image(before: longNop + shortNop, at: broken + [0x90, 0x90]))
      #expect(form == .notPrepared)
    }
  }
}

@Suite struct NopTests {
  /// Intel SDM volume 2, NOP, table 4-12, then what binutils makes of longer runs.
  static let nops: [[UInt8]] = [
    [0x90], [0x66, 0x90], [0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0], [0x0f, 0x1f, 0x44, 0, 0], [0x66, 0x0f, 0x1f, 0x44, 0, 0],
    [0x0f, 0x1f, 0x80, 0, 0, 0, 0], [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    [0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], [0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
  ]

  @Test(arguments: nops) func recommendedNopsHaveTheirLength(nop: [UInt8]) {
    #expect(EntryForm.nopLength(nop, at: 0) == nop.count)
    #expect(EntryForm.nopLength([0x90] + nop + [0xc3], at: 1) == nop.count)
  }

  @Test(arguments: nops) func aTruncatedNopIsNone(nop: [UInt8]) {
    for length in 0..<nop.count where nop.count > 1 {
      let found = EntryForm.nopLength(Array(nop[..<length]), at: 0)
      #expect(found == nil, "\(length) bytes of \(nop)")
    }
  }

  @Test(arguments: nops) func anAlteredOpcodeIsNone(nop: [UInt8]) {
    // Only what follows modrm may have any value: it is a displacement.
    let opcode = nop.firstIndex(of: 0x0f) ?? nop.count - 1
    for index in opcode..<min(opcode + 2, nop.count) {
      for value in UInt8.min...UInt8.max where value != nop[index] {
        var changed = nop
        changed[index] = value
        if value == 0x66 || value == 0x90 || value == 0x2e { continue }  // a shorter nop, or a prefix, begins here
        #expect(EntryForm.nopLength(changed, at: 0) == nil, "\(changed)")
      }
    }
  }

  @Test func onlyTheNopOfTheGroupCounts() {
    // 0f 1f /1 to /7 are reserved, not NOP.
    for modrm in UInt8.min...UInt8.max where modrm & 0x38 != 0 {
      #expect(EntryForm.nopLength([0x0f, 0x1f, modrm, 0, 0, 0, 0, 0, 0], at: 0) == nil)
    }
  }
}

@Suite struct EntryWritesTests {
  private func shape(_ writes: [(UInt64, Int)]) -> [[UInt64]] {
    EntryWrites.runs(writes.map { (address: $0.0, bytes: [UInt8](repeating: 0, count: $0.1)) }).map { $0.map(\.address) }
  }

  @Test func pointsOfAPageAreWrittenTogether() {
    #expect(shape([]) == [])
    #expect(shape([(0x1010, 2)]) == [[0x1010]])
    #expect(shape([(0x1ff0, 2), (0x1010, 2), (0x2000, 2)]) == [[0x1010, 0x1ff0], [0x2000]])
    #expect(shape([(0x1000, 2), (0x1ffe, 2)]) == [[0x1000, 0x1ffe]])
  }

  /// The kernel copies page by page: a run that left its page could be torn by our death.
  @Test func noRunLeavesItsPage() {
    #expect(shape([(0x1000, 2), (0x1fff, 2)]) == [[0x1000], [0x1fff]])
    #expect(shape([(0x1fff, 2), (0x2010, 2)]) == [[0x1fff], [0x2010]])
    let many = (0..<500).map { (UInt64(0x40_0000 + $0 * 48 + 14), 2) }
    for run in EntryWrites.runs(many.map { (address: $0.0, bytes: [0xeb, 0xf0]) }) where run.count > 1 {
      #expect(run.first!.address / 4096 == (run.last!.address + 1) / 4096)
    }
    #expect(shape(many).flatMap { $0 } == many.map(\.0))
  }

  @Test func crossingIsFoundAtTheVeryEdge() {
    #expect(crossesPage(0x1fff, count: 2))
    #expect(!crossesPage(0x1ffe, count: 2))
    #expect(!crossesPage(0x2000, count: 2))
  }
}
