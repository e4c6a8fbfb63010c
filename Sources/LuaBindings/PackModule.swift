import Diagnostics
import ELF
import LivePatch
import LuaBridge

/// What is done to and learnt from files of patches and libraries, without any process: `core.pack` and its relatives.
enum PackModule {
  static func install(in state: LuaState, core: LuaModule) {
    core.query("description", "path") { arguments in try PatchDescription(path: try arguments.string(1)).record }
    core.query("pack", "description", "options") { arguments in
      let options = try arguments.options(2, ["container", "target", "extract", "debuginfo"])
      var chosen = Packer.Options()
      chosen.container = try options.string("container")
      chosen.target = try options.string("target")
      chosen.debugFile = try options.string("debuginfo")
      chosen.extract = try options.withTable("extract") { (fields) throws(CodedError) in try extracted(fields) }
      return try packed(try Packer.pack(descriptionPath: try arguments.string(1), chosen))
    }
    core.query("embed", "metadata", "container") { arguments in
      let fields = try arguments.table(1)
      let path = try arguments.string(2)
      return try packed(
        try Packer.embed(
          try metadata(fields), comments: try fields.string("comments") ?? "", into: path,
          isRevertible: try fields.boolean("revertible") ?? true))
    }
    core.query("metadata_file", "path") { arguments in try MetadataFile(path: try arguments.string(1)).record }
    core.query("wire_form", "path") { arguments in
      LuaBytes(try Container(path: try arguments.string(1)).wireForm())
    }
    core.query("revert_form", "path") { arguments in LuaBytes(try MetadataFile.revertForm(of: try arguments.string(1))) }
    core.query("write_file", "path", "contents") { arguments in
      try FileWriting.write(try arguments.bytes(2), path: try arguments.string(1))
    }
    core.query("merge_nops", "path") { arguments in try NopMerging.rewrite(try arguments.string(1)).record }
    core.query("patchability", "path", "debuginfo") { arguments in
      try PatchabilitySurvey(path: try arguments.string(1), debugPath: try arguments.isAbsent(2) ? nil : arguments.string(2)).record
    }
    core.query("symbols_of", "path", "debuginfo") { arguments in
      try SymbolExtract.record(of: try arguments.string(1), debugPath: try arguments.isAbsent(2) ? nil : arguments.string(2))
    }
  }

  /// The container, and what is to be said about it.
  private static func packed(_ result: PackResult) throws(CodedError) -> LuaResults {
    .values(LuaBox(ContainerHandle(try Container(path: result.path))), result.record)
  }

  // MARK: - Tables that came out of JSON

  /// More symbols than this has no library; JSON could claim any number.
  private static let symbolLimit = 1 << 22

  private static func extracted(_ fields: LuaFields) throws(CodedError) -> ExtractedSymbols {
    let path = try required(fields, "path")
    guard let id = BuildID(hexadecimal: try required(fields, "buildid")) else {
      throw fields.invalid("buildid", "is no build ID")
    }
    let symbols = try fields.withTable("symbols") { (list) throws(CodedError) -> [ELFSymbol] in
      guard list.count <= symbolLimit else { throw fields.invalid("symbols", "are too many") }
      var found: [ELFSymbol] = []
      found.reserveCapacity(list.count)
      for position in 0..<list.count {
        let symbol = try list.withTable(at: position + 1) { (symbol) throws(CodedError) in try self.symbol(symbol) }
        if let symbol { found.append(symbol) }
      }
      return found
    }
    guard let symbols else { throw fields.invalid("symbols", "are missing") }
    return ExtractedSymbols(path: path, name: try required(fields, "name"), buildID: id, symbols: symbols)
  }

  private static func symbol(_ fields: LuaFields) throws(CodedError) -> ELFSymbol {
    func number(_ name: String, _ limit: Int64) throws(CodedError) -> Int64 {
      guard let value = try fields.integer(name), (0...limit).contains(value) else {
        throw fields.invalid(name, "a number from 0 to \\(limit) expected")
      }
      return value
    }
    return ELFSymbol(
      name: try required(fields, "name"), value: UInt64(try number("offset", .max)), size: UInt64(try number("size", .max)),
      info: UInt8(try number("st_info", 255)), other: UInt8(try number("st_other", 255)))
  }

  private static func required(_ fields: LuaFields, _ name: String) throws(CodedError) -> String {
    guard let value = try fields.string(name), !value.isEmpty else { throw fields.invalid(name, "a string expected") }
    return value
  }

  /// Metadata from a table as `ulp.dump` gives it.
  private static func metadata(_ fields: LuaFields) throws(CodedError) -> ContainerMetadata {
    guard let buildID = BuildID(hexadecimal: try required(fields, "target_build_id")) else {
      throw fields.invalid("target_build_id", "is no build ID")
    }
    let units = try list(fields, "units") { (unit) throws(CodedError) in
      ContainerUnit(
        oldName: try required(unit, "old_name"), newName: try required(unit, "new_name"),
        oldAddress: try unit.address("old_address") ?? 0)
    }
    let references = try list(fields, "references") { (reference) throws(CodedError) in
      ContainerReference(
        targetName: try required(reference, "target_name"), name: try required(reference, "name"),
        targetOffset: try reference.address("target_offset") ?? 0, patchOffset: try reference.address("patch_offset") ?? 0,
        isThreadLocal: try reference.boolean("tls") ?? false)
    }
    let dependencies = try fields.withTable("dependencies") { (list) throws(CodedError) -> [PatchID] in
      var found: [PatchID] = []
      for position in 0..<list.count { found.append(try PatchModule.patchID(try list.string(at: position + 1) ?? "")) }
      return found
    }
    return ContainerMetadata(
      id: try PatchModule.patchID(try required(fields, "id")), targetName: try required(fields, "target"), targetBuildID: buildID,
      units: units, dependencies: dependencies ?? [], references: references)
  }

  private static func list<Value>(_ fields: LuaFields, _ name: String, _ read: (LuaFields) throws(CodedError) -> Value)
    throws(CodedError) -> [Value]
  {
    try fields.withTable(name) { (list) throws(CodedError) -> [Value] in
      var found: [Value] = []
      for position in 0..<list.count {
        if let value = try list.withTable(at: position + 1, read) { found.append(value) }
      }
      return found
    } ?? []
  }
}
