import CPulpABI
import Diagnostics
import ELF

/// Why a container may not be unloaded of itself after a revert: something in it may still be used by the program.
///
/// Stacks show who is *in* a container. They do not show pointers *to* it that were given away: a string that a replaced
/// function returned, a handler it registered, a thread-local variable with a destructor.
public enum KeepReason: UInt8, Sendable {
  case constants = 1, variables, threadLocals, functionPointers, registrations, otherData
  /// The operator's wish.
  case asked
  /// The kernel or libc may hold its code for good, whether or not it ever came into force.
  case handlers
  /// What of it is in the target's journal has no reason that this program knows.
  case unknown = 255

  public var text: String {
    switch self {
    case .constants: "it holds constants, whose addresses the program may still have"
    case .variables: "it holds variables, whose addresses the program may still have"
    case .threadLocals: "it holds thread-local variables"
    case .functionPointers: "it holds pointers to its own functions, which the program may still have"
    case .registrations: "it calls functions that keep what they are given, such as atexit or pthread_create"
    case .otherData: "it holds data of a kind that is not known to be unused"
    case .asked: "it was to be kept"
    case .handlers: "it calls functions that keep its code and never give it back, such as sigaction or timer_create"
    case .unknown: "it was to be kept by the tool that applied it"
    }
  }

  /// As the flags of the runtime's journal hold it.
  var flags: UInt32 { UInt32(PULP_PATCH_KEEP.rawValue) | UInt32(rawValue) << 8 }

  init?(flags: UInt32) {
    guard flags & UInt32(PULP_PATCH_KEEP.rawValue) != 0 else { return nil }
    self = KeepReason(rawValue: UInt8(truncatingIfNeeded: flags >> 8)) ?? .unknown
  }
}

extension Container {
  /// Why the container must stay mapped after a revert; nil when nothing in it can reasonably outlive its functions.
  ///
  /// Decided from sections, relocations and imports. Not decidable, and left to the author (`unload = false`): code that
  /// computes the address of one of its own functions (`lea`) and gives it to the program by a way of its own.
  public func keepReason() throws(CodedError) -> KeepReason? {
    if try installsHandlers() { return .handlers }
    for section in try file.sections() where section.isAllocated && section.size > 0 {
      if let reason = try reason(of: section) { return reason }
    }
    if try file.undefinedNames().contains(where: Container.keepers.contains) { return .registrations }
    return try givesFunctionsAway() ? .functionPointers : nil
  }

  /// Whether it calls functions whose pointers nobody takes back: then its code is needed once it has run, also if the patch
  /// never comes into force.
  func installsHandlers() throws(CodedError) -> Bool { try file.undefinedNames().contains(where: Container.installers.contains) }

  /// The content of each kind of section that compilers and linkers make. What is not known may be anything.
  private func reason(of section: SectionHeader) throws(CodedError) -> KeepReason? {
    let name = section.name
    if section.isThreadLocal { return .threadLocals }
    if name.hasPrefix(".rodata") || name.hasPrefix(".data.rel.ro") { return .constants }
    if name == ".data" || name == ".bss" { return try hasVariables(section) ? .variables : nil }
    if name.hasPrefix(".data.") || name.hasPrefix(".bss.") || name.hasPrefix(".ldata") || name.hasPrefix(".lbss") { return .variables }
    return Container.harmless.contains { name.hasPrefix($0) } ? nil : .otherData
  }

  private static let harmless = [
    ".note", ".gnu.hash", ".hash", ".dynsym", ".dynstr", ".gnu.version", ".rela.", ".relr.", ".init", ".fini", ".preinit_array",
    ".plt", ".text", ".eh_frame", ".gcc_except_table", ".dynamic", ".got", "__patchable_function_entries", ".tm_clone_table", ".ulp",
  ]

  /// Functions of libc and libpthread that keep a pointer they are given: to a function, as a rule. dlclose(3) takes these back,
  /// or they are seen on the stack of a thread.
  private static let keepers: Set<String> = [
    "__cxa_atexit", "__cxa_thread_atexit", "__cxa_thread_atexit_impl", "__cxa_at_quick_exit", "atexit", "at_quick_exit",
    "pthread_atfork", "__register_atfork", "pthread_create", "thrd_create", "makecontext", "clone", "ftw", "setlocale",
  ]

  /// Those whose pointers nobody takes back.
  private static let installers: Set<String> = [
    "signal", "__sysv_signal", "bsd_signal", "sigset", "sigaction", "timer_create", "pthread_key_create", "tss_create", "on_exit",
  ]

  /// Whether `.data` or `.bss` holds more than the start files' own word (`__dso_handle`, `completed.0`), the places of
  /// references and the gaps before aligned ones. The symbol table shows the smallest variable; without one, a variable of
  /// less than 8 bytes is known by its alignment alone, and single bytes beside the start files' are not.
  private func hasVariables(_ section: SectionHeader) throws(CodedError) -> Bool {
    let symbols = try file.dynamicSymbols()
    let places = references.map { reference -> (place: UInt64, size: UInt64) in
      let place = reference.patchOffset != 0 ? reference.patchOffset : symbols.symbol(named: reference.name)?.value ?? 0
      return (place, reference.isThreadLocal ? 16 : 8)
    }.filter { $0.place >= section.address && $0.place < section.address &+ section.size }
    let all = try file.staticSymbols()
    if all.count > 1 {
      var found = false
      all.forEachDefined { symbol in
        guard !found, symbol.kind == .object || symbol.kind == .common, symbol.size > 0, symbol.value >= section.address,
          symbol.value < section.address &+ section.size
        else { return }
        let isPlace = places.contains { symbol.value >= $0.place && symbol.value < $0.place &+ $0.size }
        found = !isPlace && !Container.startFiles.contains { all.name(of: symbol).hasPrefix($0) }
      }
      return found
    }
    if places.isEmpty, section.name == ".bss", section.alignment > 1 { return true }
    let end = section.address &+ section.size
    var position = section.address &+ 8
    for reference in places.sorted(by: { $0.place < $1.place }) {
      if reference.place > position, reference.place - position >= max(section.alignment, 8) { return true }
      position = max(position, reference.place &+ reference.size)
    }
    // The linker pads .bss to 8 bytes.
    return position < end && end - position >= (section.name == ".bss" ? 8 : 1)
  }

  /// Objects of crtbeginS.o.
  private static let startFiles = ["completed.", "__dso_handle", "__TMC_END__", "__dtor_idx"]

  /// Whether the loader writes the address of one of the container's functions into it, other than for calls (PLT) and for
  /// its lists of constructors and destructors.
  private func givesFunctionsAway() throws(CodedError) -> Bool {
    let symbols = try file.dynamicSymbols()
    let code = file.programHeaders.filter { $0.isLoad && $0.isExecutable }
    let lists = try file.sections().filter { $0.name.hasPrefix(".init_array") || $0.name.hasPrefix(".fini_array") || $0.name == "__patchable_function_entries" }
    func isCode(_ address: UInt64) -> Bool { code.contains { address >= $0.address && address < ($0.end ?? 0) } }
    return try file.relocations().contains { relocation in
      switch relocation.kind {
      case .jumpSlot, .other: return false
      case .relative, .indirectRelative:
        return isCode(relocation.addend) && !lists.contains { relocation.place >= $0.address && relocation.place < $0.address &+ $0.size }
      case .absolute, .globalData:
        guard relocation.symbol > 0, relocation.symbol < symbols.count else { return false }
        let symbol = symbols[relocation.symbol]
        return symbol.isDefined && symbol.isCode
      }
    }
  }
}

extension ELFFile {
  fileprivate func undefinedNames() throws(CodedError) -> [String] { try dynamicSymbols().undefined.map(\.name) }
}

extension SectionHeader {
  /// SHF_TLS: `.tdata`, `.tbss`.
  fileprivate var isThreadLocal: Bool { flags & 0x400 != 0 }
}
