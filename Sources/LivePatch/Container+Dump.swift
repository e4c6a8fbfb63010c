import Diagnostics
import ELF

extension ContainerUnit {
  public var record: DiagnosticValue {
    .record([
      .init("old_name", .text(oldName)), .init("new_name", .text(newName)),
      .init("old_address", .integer(Int64(bitPattern: oldAddress))),
    ])
  }
}

extension ContainerReference {
  public var record: DiagnosticValue {
    .record([
      .init("target_name", .text(targetName)), .init("name", .text(name)),
      .init("target_offset", .integer(Int64(bitPattern: targetOffset))),
      .init("patch_offset", .integer(Int64(bitPattern: patchOffset))), .init("tls", .flag(isThreadLocal)),
    ])
  }
}

extension Container {
  /// The whole container as a value for scripts: what `ulp.container` and `ulp.dump` show.
  public func record() throws(CodedError) -> DiagnosticValue {
    var functions: [DiagnosticValue] = []
    for (unit, function) in zip(units, self.functions) {
      functions.append(
        .record([
          .init("old_name", .text(unit.oldName)), .init("new_name", .text(unit.newName)),
          .init("old_address", .integer(Int64(bitPattern: unit.oldAddress))),
          .init("new_address", .integer(Int64(bitPattern: function.value))),
          .init("new_size", .integer(Int64(bitPattern: function.size))),
        ]))
    }
    let constructors = try constructors().map { constructor -> DiagnosticValue in
      .text(constructor.name ?? hexadecimal(constructor.address.rawValue))
    }
    return .record([
      .init("kind", "container"), .init("path", .text(path)), .init("id", .text(id.description)), .init("build_id", .text(buildID.description)),
      .init("target", .text(targetName)), .init("target_build_id", .text(targetBuildID.description)),
      .init("units", .list(functions)), .init("references", .list(references.map(\.record))),
      .init("dependencies", .list(dependencies.map { .text($0.description) })),
      .init("labels", .list(labels.map { .text($0) })), .init("comments", .text(comments)),
      .init("constructors", .list(constructors)),
      .init("undefined", .list(try undefinedSymbols().map { symbol in .text(version(of: symbol).map { "\(symbol.name)@\($0)" } ?? symbol.name) })),
      .init("needed", .list(try file.needed().map { .text($0) })),
      .init("device", .integer(Int64(bitPattern: identity.device))),
      .init("inode", .integer(Int64(bitPattern: identity.inode))),
      .init("revertible", .flag(revertBytes != nil)), .init("warnings", .list(try warnings().map { .text($0) })),
    ])
  }

  /// What is allowed and may surprise, one sentence each.
  private func warnings() throws(CodedError) -> [String] {
    var found: [String] = []
    if targetBuildID.bytes.count != 20 { found.append("SUSE's runtime only knows build IDs of 20 bytes") }
    if units.isEmpty { found.append("it replaces no function") }
    if revertBytes == nil { found.append("it has no revert metadata: SUSE's tool cannot take it back") }
    if MetadataCodec.encode(metadata).count < applyBytes.count { found.append("the metadata goes on behind its end; readers ignore that") }
    let constructors = try constructors()
    if !constructors.isEmpty { found.append("loading it runs \(constructors.count) constructor\(constructors.count == 1 ? "" : "s") of its own") }
    guard let dynamic = try file.dynamicSection() else { return found }
    if dynamic.hasTextRelocations { found.append("it has text relocations: the loader writes to its code") }
    if dynamic.hasStaticTLS { found.append("it has thread-local variables of the static kind, for which the loader may have no room") }
    if dynamic.isNoDelete { found.append("it can never be unloaded (NODELETE)") }
    return found
  }
}
