import CElf
import Diagnostics

/// A function that the loader calls when it loads the object: in a container, code of the patch author that runs in the
/// target before anything is switched.
public struct Constructor: Sendable, Equatable {
  public let address: LinkAddress
  /// Nil when no symbol tells (stripped file).
  public let name: String?
  /// Put there by the compiler's start files, in every shared object: `_init`, `frame_dummy`. They do nothing of note.
  public let isToolchain: Bool
}

extension ELFFile {
  /// DT_INIT, DT_PREINIT_ARRAY and DT_INIT_ARRAY, in the order of execution.
  public func constructors() throws(CodedError) -> [Constructor] {
    if let cachedConstructors { return cachedConstructors }
    let found = try readConstructors()
    cachedConstructors = found
    return found
  }

  private func readConstructors() throws(CodedError) -> [Constructor] {
    guard let dynamic = try dynamicSection() else { return [] }
    var found: [Constructor] = []
    func add(_ address: UInt64, first: Bool) throws(CodedError) {
      let name = try function(containing: LinkAddress(address)).flatMap { $0.value == address ? $0.name : nil }
      let isToolchain = name.map { $0 == "frame_dummy" || $0 == "_init" } ?? looksLikeToolchain(address, first: first)
      found.append(Constructor(address: LinkAddress(address), name: name, isToolchain: isToolchain))
    }
    for address in try pointers(dynamic, array: DT_PREINIT_ARRAY, size: DT_PREINIT_ARRAYSZ) { try add(address, first: false) }
    if let address = dynamic.value(DT_INIT), address != 0 { try add(address, first: true) }
    var isFirst = true
    for address in try pointers(dynamic, array: DT_INIT_ARRAY, size: DT_INIT_ARRAYSZ) {
      try add(address, first: isFirst)
      isFirst = false
    }
    return found
  }

  /// The function pointers of an array of the dynamic section: addends of RELATIVE relocations, or what is stored.
  private func pointers(_ dynamic: DynamicSection, array: Int32, size: Int32) throws(CodedError) -> [UInt64] {
    guard let place = dynamic.value(array), let length = dynamic.value(size), length > 0 else { return [] }
    guard length <= 1 << 16 else { throw bytes.malformed("it claims \(length / 8) constructors") }
    let stored = try read(at: LinkAddress(place), count: Int(length))
    let relocations = try RelativeRelocations(of: self)
    var found: [UInt64] = []
    for index in 0..<stored.count / 8 {
      let value = relocations.addend(at: place &+ UInt64(index * 8)) ?? stored.integer(at: index * 8) ?? 0
      found.append(value)
    }
    return found
  }

  /// In a stripped file the start files' functions are known by their code. glibc's `_init` begins `sub $8,%rsp; mov
  /// __gmon_start__@GOT,%rax`; GCC's `frame_dummy`, first of the array, is one jump (after `endbr64`).
  private func looksLikeToolchain(_ address: UInt64, first: Bool) -> Bool {
    guard first, var code = try? read(at: LinkAddress(address), count: 12) else { return false }
    if code.starts(with: [0xf3, 0x0f, 0x1e, 0xfa]) { code.removeFirst(4) }
    return code[0] == 0xe9 || code.starts(with: [0x48, 0x83, 0xec, 0x08, 0x48, 0x8b, 0x05])
  }
}
