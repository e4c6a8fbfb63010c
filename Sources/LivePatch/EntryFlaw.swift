import Diagnostics
import ELF

/// Why a function of a file cannot be patched: the compiler did not leave the room that a detour needs, 14 bytes of nops
/// before the function and 2 at its entry, behind an `endbr64` where there is one (`-fpatchable-function-entry=16,14`), or
/// left it where it cannot be written in one step.
struct EntryFlaw {
  let code: ErrorCode
  let reason: String

  static let prefix = UInt64(EntryForm.padding)

  private init(_ code: ErrorCode, _ reason: String) {
    self.code = code
    self.reason = reason
  }

  /// Nil when the function is prepared.
  init?(of symbol: ELFSymbol, in file: ELFFile) throws(CodedError) {
    if symbol.kind == .indirectFunction {
      self.init(.entryIndirect, "it is an indirect function (IFUNC)")
      return
    }
    guard symbol.value >= EntryFlaw.prefix, let code = try? file.read(at: LinkAddress(symbol.value - EntryFlaw.prefix), count: 20)
    else {
      let isThere = (try? file.read(at: symbol.address, count: 6)) != nil
      self.init(.entryNotPrepared, isThere ? "the compiler left no room before it" : "its code is not in the file")
      return
    }
    let entries = try file.patchableEntries()
    if let entries {
      // Older layouts leave more room in front; its last 14 bytes serve.
      guard let entry = entries.entry(leadingTo: symbol.value), symbol.value - entry >= EntryFlaw.prefix else {
        self.init(.entryNotPrepared, "the compiler left no room before it")
        return
      }
    } else if !code[..<14].allSatisfy({ $0 == 0x90 }) {
      self.init(.entryNotPrepared, "there are no 14 bytes of nops before it")
      return
    }
    let body = Array(code[14...])
    let point = body.starts(with: EntryForm.endbr64) ? 4 : 0
    guard body[point + 1] == 0x90 && (body[point] == 0x90 || body[point] == 0x66) else {
      self.init(.entryNotPrepared, "its entry does not begin with two bytes of nops")
      return
    }
    // The loader maps whole pages, so that link addresses tell where pages end.
    if crossesPage(symbol.value + UInt64(point), count: 2) {
      self.init(.entryCrossesPage, "its two entry bytes are on two pages")
    } else if crossesPage(symbol.value - 8, count: 8) {
      self.init(.entryCrossesPage, "the address of its detour would be on two pages")
    } else {
      return nil
    }
  }
}
