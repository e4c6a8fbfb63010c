import ELF

/// MD4 (RFC 1320). Long broken as a cryptographic hash; here it only names patches, as SUSE's packer does.
enum MD4 {
  /// The 16-byte digest.
  static func digest(_ message: [UInt8]) -> [UInt8] {
    var state: (UInt32, UInt32, UInt32, UInt32) = (0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476)
    var padded = message
    padded.append(0x80)
    while padded.count % 64 != 56 { padded.append(0) }
    padded.append(integer: UInt64(message.count) &* 8)
    for start in stride(from: 0, to: padded.count, by: 64) {
      let words = (0..<16).map { padded.integer(at: start + $0 * 4, as: UInt32.self) ?? 0 }
      mix(&state, words)
    }
    var digest: [UInt8] = []
    for word in [state.0, state.1, state.2, state.3] { digest.append(integer: word) }
    return digest
  }

  /// Three rounds of sixteen steps. Each step changes one word and the words change places, so that "a" is always first.
  private static func mix(_ state: inout (UInt32, UInt32, UInt32, UInt32), _ words: [UInt32]) {
    var (a, b, c, d) = state
    func step(_ value: UInt32, _ shift: UInt32) {
      (a, d, c, b) = (d, c, b, value << shift | value >> (32 - shift))
    }
    let first: [UInt32] = [3, 7, 11, 19]
    for index in 0..<16 { step(a &+ ((b & c) | (~b & d)) &+ words[index], first[index % 4]) }
    let second: [UInt32] = [3, 5, 9, 13]
    for index in 0..<16 {
      let word = words[index % 4 * 4 + index / 4]
      step(a &+ ((b & c) | (b & d) | (c & d)) &+ word &+ 0x5a82_7999, second[index % 4])
    }
    let third: [UInt32] = [3, 9, 11, 15]
    // The order of the third round is the bit-reversed index.
    let order = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]
    for index in 0..<16 { step(a &+ (b ^ c ^ d) &+ words[order[index]] &+ 0x6ed9_eba1, third[index % 4]) }
    state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d)
  }
}
