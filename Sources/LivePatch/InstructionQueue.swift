import Diagnostics
import Inferior
import Tracing

/// Writes that SUSE's runtime leaves to the tool ("libpulp interface", chapter 4): it changes no text itself.
public struct InstructionQueue: Sendable {
  public enum Instruction: Sendable, Equatable {
    case print(String)
    case write(address: UInt64, bytes: [UInt8])
  }

  public let instructions: [Instruction]
  /// Nothing is left to be done, nor to be acknowledged.
  public let isEmpty: Bool
  var writes: [(address: UInt64, bytes: [UInt8])] {
    instructions.compactMap { if case .write(let address, let bytes) = $0 { (address, bytes) } else { nil } }
  }

  static let nothing = InstructionQueue(instructions: [], isEmpty: true)
  static let capacity = 2_097_152
  private static let version = 1

  private init(instructions: [Instruction], isEmpty: Bool) { (self.instructions, self.isEmpty) = (instructions, isEmpty) }

  /// Decodes the queue of a process; all of it before anything is executed. Fails with `runtime.corrupt` for a queue that
  /// contradicts itself, `runtime.version` for one of a newer version.
  init(of runtime: SuseRuntime) throws(CodedError) {
    guard runtime.leavesWrites else {
      (isEmpty, instructions) = (true, [])
      return
    }
    let place = runtime["__ulp_insn_queue"]
    let header = try runtime.memory.load(place, count: 4, as: UInt32.self)
    guard header[0] <= InstructionQueue.version else {
      throw CodedError(
        .runtimeVersion, "the instruction queue of process \(runtime.process.pid) has version \(header[0])",
        data: ["pid": .integer(Int64(runtime.process.pid)), "found": .integer(Int64(header[0]))])
    }
    let size = Int(header[2])
    guard size <= InstructionQueue.capacity else { throw runtime.corrupt("its instruction queue is longer than its buffer") }
    isEmpty = header[1] == 0 && size == 0
    // The size is acknowledged first: what a tool left that died just then has been done.
    if size == 0 {
      instructions = []
      return
    }
    guard let found = InstructionQueue.decode(try runtime.memory.read(place + 16, count: size), count: Int(header[1])) else {
      throw runtime.corrupt("its instruction queue is malformed")
    }
    instructions = found
  }

  /// Nil unless exactly `count` instructions fill the bytes.
  static func decode(_ bytes: [UInt8], count: Int) -> [Instruction]? {
    var found: [Instruction] = []
    var at = 0
    func integer(_ offset: Int, _ size: Int) -> UInt64 {
      (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }
    while found.count < count {
      guard at + 4 <= bytes.count else { return nil }
      let size = Int(integer(at + 1, 3))
      switch bytes[at] {
      case 0:
        found.append(.print(""))
        at += 4
        continue
      case 1:
        guard size >= 5, at + size <= bytes.count, let end = bytes[(at + 4)..<(at + size)].firstIndex(of: 0) else { return nil }
        found.append(.print(String(decoding: bytes[(at + 4)..<end], as: UTF8.self)))
      case 2:
        guard size >= 16, at + size <= bytes.count else { return nil }
        let length = Int(integer(at + 4, 4))
        guard length <= size - 16 else { return nil }
        found.append(.write(address: integer(at + 8, 8), bytes: Array(bytes[(at + 16)..<(at + 16 + length)])))
      default: return nil
      }
      at += size
    }
    return at == bytes.count ? found : nil
  }
}

extension SuseRuntime {
  /// What the runtime waits to be written. Not empty outside of a call: a tool died between the two.
  public func queue() throws(CodedError) -> InstructionQueue { try InstructionQueue(of: self) }

  /// Tells the runtime that its queue has been seen to, in the order its own tool uses.
  func acknowledgeQueue() throws(CodedError) {
    guard leavesWrites else { return }
    try memory.store(UInt32(0), to: self["__ulp_insn_queue"] + 8)
    try memory.store(UInt32(0), to: self["__ulp_insn_queue"] + 4)
  }
}
