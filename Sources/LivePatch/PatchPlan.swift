import Diagnostics
import ELF
import Inferior
import Tracing

/// What an operation would do to one process, computed without stopping or changing anything.
///
/// The plan is the dry run: printing it shows every function, every byte and every refusal. It is also what is staged; the
/// runtime and the switch check again that the process still is as the plan found it.
public struct PatchPlan {
  /// One function to be diverted.
  public struct Unit: Sendable {
    public let oldName: String
    public let newName: String
    /// Address of the function in the process.
    public let entry: UInt64
    public let pointOffset: UInt32
    /// Bytes of its code, 0 when no symbol tells.
    public let size: UInt64
    /// The 32 bytes before the entry and 8 from it on, as found.
    let found: [UInt8]
    let form: EntryForm

    public var isArmed: Bool { if case .armed = form { true } else { false } }
  }

  /// A container to be applied.
  public struct Apply {
    public let id: PatchID
    /// The container's file as this program sees it, and as the process is asked to open it.
    public let path: String
    public let targetPath: String
    /// The file that was checked, as it was then; nil when nothing is at a path that was prescribed.
    public let file: FileStamp?
    /// The container itself when it is delivered in a memory file; nil: the process opens the path.
    let contents: Container?
    public var delivery: Delivery { contents == nil ? .path : .memory }
    public let buildID: BuildID
    public let libraryName: String
    public let libraryPath: String
    public let bias: UInt64
    public let targetBuildID: BuildID
    public let units: [Unit]
    public let references: [ContainerReference]
    public let constructors: [String]
    /// Libraries it needs that the process does not have yet: their constructors run, too.
    public let brings: [String]
    public let labels: [String]
    /// Who could change or replace the container's file, besides root and us.
    public let exposures: [String]
    /// Why the container is not to be unloaded after a revert; nil: it may be.
    public let keepReason: KeepReason?
    /// The loader writes to its code, and makes it executable again.
    var hasTextRelocations = false
    /// Once its code has run it is not unloaded without having been in force.
    var installsHandlers = false
    /// The target library is held open for as long as the patch is in force.
    public let pinsLibrary: Bool
    /// Patches that have to be in force for as long as this one is.
    var dependencies: [PatchID] = []
  }

  /// A patch to be left.
  public struct Revert: Sendable {
    public let id: PatchID
    public let libraryName: String
    public let path: String
    public let functions: [UInt64]
  }

  public let pid: Int32
  public let identity: ProcessIdentity
  /// The universe the process was in when the plan was made; the operation leads to the next one.
  public let universe: UInt64
  public let applies: [Apply]
  public let reverts: [Revert]
  /// Patches named that need nothing: applied already, or (to be reverted) not applied.
  public let already: [PatchID]
  /// Patches whose library went away, and which staging writes off because this plan is about the same functions or patch.
  public let lost: [LostPatch]
  public let warnings: [String]

  public var isEmpty: Bool { applies.isEmpty && reverts.isEmpty }
  /// Whether loading runs code of the containers' authors.
  var runsForeignCode: Bool { applies.contains { !$0.constructors.isEmpty || !$0.brings.isEmpty } }
}

/// What is decided when containers are applied and outlives the tool that applied them.
public struct PlanOptions: Sendable {
  /// Whether containers may be unloaded after a revert; nil: where nothing in them can still be used.
  public var unloads: Bool?
  public var pinsLibraries = false
  /// What is put, without a separator, before the path that the process opens; nil: the process's root directory tells.
  public var root: String?
  public var delivery = Delivery.path
  public init() {}
}

/// Computes plans for one process.
public struct PatchPlanner {
  let process: TargetProcess
  let runtime: any LivePatchRuntime
  let universe: UInt64
  let patches: [LoadedPatch]
  let lost: [LostPatch]
  let options: PlanOptions

  public init(_ runtime: any LivePatchRuntime, _ options: PlanOptions = PlanOptions()) throws(CodedError) {
    process = runtime.process
    self.runtime = runtime
    self.options = options
    (universe, patches, lost) = try runtime.inspectedJournal()
  }

  /// A plan to bring `containers` into force and take `reverting` out of force, in one step.
  ///
  /// Fails, before anything is touched, with `target.not_loaded`, `target.build_id`, `target.function_missing`,
  /// `entry.*`, `container.duplicate`, `container.invisible`, `container.undeliverable`, `container.unresolved`, `container.stale`, `container.executable_stack`, `runtime.disabled`,
  /// `patch.dependency`, `patch.not_applied` and `patch.lost` (for a patch to be reverted that the process does not have, or not any more).
  public func plan(applying containers: [Container], reverting: [PatchID] = []) throws(CodedError) -> PatchPlan {
    try checkEnabled()
    var applies: [PatchPlan.Apply] = []
    var already: [PatchID] = []
    var warnings: [String] = []
    for container in containers {
      let isLeft = reverting.contains(container.id)
      if !isLeft, inForce(container.id) != nil {
        already.append(container.id)
        continue
      }
      try checkDependencies(container, among: containers, reverting)
      applies.append(try apply(container, &warnings))
    }
    try checkDuplicates(applies)
    var reverts: [PatchPlan.Revert] = []
    for id in reverting {
      guard let patch = inForce(id) else { throw notInForce(id) }
      try checkDependents(patch, among: containers, reverting)
      reverts.append(.init(id: id, libraryName: patch.libraryName, path: patch.path, functions: patch.units.map(\.entry)))
    }
    return PatchPlan(
      pid: process.pid, identity: process.identity, universe: universe, applies: applies, reverts: reverts, already: already,
      lost: lostWith(applies, reverting), warnings: warnings)
  }

  /// The old means against applying patches in the wrong order: ids in the metadata ("libpulp interface", 1.2).
  private func checkDependencies(_ container: Container, among containers: [Container], _ reverting: [PatchID]) throws(CodedError) {
    for id in container.dependencies where !containers.contains(where: { $0.id == id }) && (reverting.contains(id) || inForce(id) == nil) {
      throw CodedError(
        .patchDependency, "\(printable(container.path)) depends on patch \(id.description.prefix(16)), which is not applied in process \(process.pid)",
        data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path), "id": .text(id.description)])
    }
  }

  /// What stays must not need what is left. The runtime refuses the same; here it is known before anything is loaded.
  private func checkDependents(_ left: LoadedPatch, among containers: [Container], _ reverting: [PatchID]) throws(CodedError) {
    if containers.contains(where: { $0.id.bytes == left.id }) { return }
    for patch in patches where patch.isInForce(at: universe) && !isLost(patch) && patch.dependencies.contains(left.id) {
      if reverting.contains(where: { $0.bytes == patch.id }) { continue }
      throw CodedError(
        .patchDependency, "process \(process.pid): \(printable(patch.path)) is in force and depends on \(printable(left.path))",
        hint: "revert that one first, or both together",
        data: ["pid": .integer(Int64(process.pid)), "path": .text(patch.path), "id": .text(hexadecimal(left.id))])
    }
  }

  /// A lost patch with the id or a function of the new ones, or that needs one that is left: the journal must not take it for
  /// what calls reach now.
  private func lostWith(_ applies: [PatchPlan.Apply], _ reverting: [PatchID]) -> [LostPatch] {
    let entries = Set(applies.flatMap { $0.units.map(\.entry) })
    return lost.filter { lost in
      applies.contains { $0.id.bytes == lost.patch.id } || lost.patch.units.contains { entries.contains($0.entry) }
        || lost.patch.dependencies.contains { id in reverting.contains { $0.bytes == id } }
    }
  }

  public func inForce(_ id: PatchID) -> LoadedPatch? {
    patches.first { $0.id == id.bytes && $0.isInForce(at: universe) && !isLost($0) }
  }

  private func isLost(_ patch: LoadedPatch) -> Bool { lost.contains { $0.patch.address == patch.address } }

  private func notInForce(_ id: PatchID) -> CodedError {
    if let found = lost.first(where: { $0.patch.id == id.bytes }) {
      return CodedError(
        .patchLost, "patch \(id.description.prefix(16)) is not in force in process \(process.pid) any more: \(found.reason)",
        data: ["pid": .integer(Int64(process.pid)), "id": .text(id.description), "reason": .text(found.reason)])
    }
    return CodedError(
      .patchNotApplied, "patch \(id.description.prefix(16)) is not applied in process \(process.pid)",
      data: ["pid": .integer(Int64(process.pid)), "id": .text(id.description)])
  }

  private func checkEnabled() throws(CodedError) {
    let state = try runtime.errorState()
    if state != 0 { throw runtime.disabled(state) }
  }

  // MARK: - One container

  private func apply(_ container: Container, _ warnings: inout [String]) throws(CodedError) -> PatchPlan.Apply {
    try container.requireUnchanged()
    try checkStack(container)
    let library = try target(of: container)
    let units = try container.units.map { unit throws(CodedError) in try plannedUnit(unit, library) }
    let brings = try broughtLibraries(container)
    if brings.isEmpty { try checkResolvable(container) }
    if runtime.remembersContainers, options.delivery == .path { try checkReuse(of: container) }
    let constructors = try container.constructors().map { $0.name ?? hex($0.address.rawValue) }
    let place = try place(of: container)
    if !runtime.remembersContainers {
      try checkLoadedName(container, place.path)
      try checkReferences(container, library)
    }
    if place.file == nil, options.delivery == .path { warnings.append("process \(process.pid) has no file \(printable(place.path)); its loader will refuse it") }
    let apply = PatchPlan.Apply(
      id: container.id, path: container.path, targetPath: place.path, file: place.file,
      contents: options.delivery == .memory ? container : nil,
      buildID: container.buildID, libraryName: container.targetName, libraryPath: library.path, bias: library.bias,
      targetBuildID: container.targetBuildID, units: units, references: container.references, constructors: constructors,
      brings: brings, labels: container.labels, exposures: exposures(of: container), keepReason: try keepReason(container),
      hasTextRelocations: try container.file.dynamicSection()?.hasTextRelocations ?? false,
      installsHandlers: try container.installsHandlers(), pinsLibrary: options.pinsLibraries, dependencies: container.dependencies)
    warnings += notes(on: apply, in: library)
    return apply
  }

  /// Each once: several paths have directories in common.
  private func exposures(of container: Container) -> [String] {
    var found: [String] = []
    for exposure in container.namedPaths.flatMap(fileExposures) where !found.contains(exposure) { found.append(exposure) }
    return found
  }

  /// SUSE's runtime adds whatever offset it is given to where the library is.
  private func checkReferences(_ container: Container, _ library: LoadedLibrary) throws(CodedError) {
    let threadLocal = library.image.programHeaders.first { $0.type == 7 }?.memorySize ?? 0  // PT_TLS
    for reference in container.references {
      let isThere = reference.isThreadLocal ? reference.targetOffset < threadLocal
        : library.image.extent.contains(library.bias &+ reference.targetOffset)
      if isThere { continue }
      throw CodedError(
        .containerContradiction,
        "\(printable(container.path)) refers to \(printable(reference.targetName)) at \(hex(reference.targetOffset)), where \(printable(library.name)) has nothing",
        data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path), "symbol": .text(reference.targetName)])
    }
  }

  /// A loader that has an object of this path gives that back, whatever the file is by now.
  private func checkLoadedName(_ container: Container, _ path: String) throws(CodedError) {
    guard let loaded = try process.libraries().first(where: { $0.path == path }), try loaded.image.buildID() != container.buildID else { return }
    throw CodedError(
      .containerStale, "process \(process.pid) still has an earlier file of the path \(printable(path)) loaded, and would take that",
      hint: "apply a copy of the file under another name (`cp`)", data: ["pid": .integer(Int64(process.pid)), "path": .text(path)])
  }

  private func keepReason(_ container: Container) throws(CodedError) -> KeepReason? {
    switch options.unloads {
    case .some(true): nil
    case .some(false): .asked
    case .none: try container.keepReason()
    }
  }

  /// The loaded library with the container's target name and build ID. Of several copies the one with the right ID.
  private func target(of container: Container) throws(CodedError) -> LoadedLibrary {
    let wanted = container.targetBuildID
    let named = try process.libraries().filter { $0.answers(to: container.targetName) }
    guard let first = named.first else {
      let reason = copyElsewhere(of: container.targetName).map { " but in a namespace of its own (dlmopen) at \(hex($0)), which is not patched" }
      throw CodedError(
        .targetNotLoaded, "\(printable(container.targetName)) is not loaded in process \(process.pid)" + (reason ?? ""),
        data: ["pid": .integer(Int64(process.pid)), "library": .text(container.targetName)])
    }
    for library in named {
      if try library.image.buildID() == wanted { return library }
    }
    let found = try first.image.buildID()?.description ?? "none"
    throw CodedError(
      .targetBuildID,
      "\(printable(container.targetName)) in process \(process.pid) has build ID \(found), the patch is for \(wanted.description)",
      data: [
        "pid": .integer(Int64(process.pid)), "library": .text(container.targetName), "found": .text(found),
        "expected": .text(wanted.description),
      ])
  }

  private func plannedUnit(_ unit: ContainerUnit, _ library: LoadedLibrary) throws(CodedError) -> PatchPlan.Unit {
    let symbol = try definition(of: unit, library)
    let link = symbol?.value ?? 0
    let entry = link &+ library.bias
    func refuse(_ code: ErrorCode, _ text: String) -> CodedError {
      CodedError(
        code, "\(printable(unit.oldName)) in \(printable(library.name)) of process \(process.pid) \(text)",
        data: [
          "pid": .integer(Int64(process.pid)), "symbol": .text(unit.oldName), "library": .text(library.name),
          "address": .integer(Int64(bitPattern: entry)),
        ])
    }
    guard link != 0, library.image.textRanges.contains(where: { $0.contains(entry) }) else {
      throw refuse(.targetFunctionMissing, "does not exist")
    }
    if symbol?.isIndirect == true { throw refuse(.entryIndirect, "is an IFUNC") }
    let before = UInt64(EntryForm.before)
    let bytes = try process.memory.read(entry &- before, count: EntryForm.before + EntryForm.after)
    let form = EntryForm(bytes)
    let pointOffset: UInt32
    switch form {
    case .notPrepared: throw refuse(.entryNotPrepared, "has no patchable entry")
    case .modified: throw refuse(.entryModified, "holds bytes of another tool at its entry")
    case .armed(let offset, let target):
      guard isOurs(target, entry) else { throw refuse(.entryModified, "is diverted by another tool to \(hex(target))") }
      pointOffset = offset
    case .prepared(let offset, _, _):
      // The journal says that this function is diverted, other functions of that patch are, and this one is not.
      if let patch = diverting(entry) { throw refuse(.patchLost, "has lost its detour to \(printable(patch.path))") }
      pointOffset = offset
    }
    if symbol?.isElsewhere == true {
      throw refuse(.targetFunctionMissing, "is at \(hex(link)), not at \(hex(unit.oldAddress)) as the metadata says")
    }
    if crossesPage(entry + UInt64(pointOffset), count: 2) { throw refuse(.entryCrossesPage, "has its entry bytes on two pages") }
    // The kernel copies page by page: a tool killed in between would leave half an address behind.
    if crossesPage(entry - 8, count: 8) { throw refuse(.entryCrossesPage, "has the address of its detour on two pages") }
    return PatchPlan.Unit(
      oldName: unit.oldName, newName: unit.newName, entry: entry, pointOffset: pointOffset,
      size: symbol?.size ?? 0, found: bytes, form: form)
  }

  /// What the target's symbols say of a function.
  private struct Definition {
    let value: UInt64
    let size: UInt64
    let isIndirect: Bool
    /// The name exists, but not at the metadata's address.
    var isElsewhere = false
  }

  /// The function the unit means: the address in the metadata, confirmed by a symbol of that name. A local function is in
  /// `.symtab` alone; of a stripped library only the address is known, and its entry bytes must speak for it.
  private func definition(of unit: ContainerUnit, _ library: LoadedLibrary) throws(CodedError) -> Definition? {
    func choose(_ entries: [SymbolEntry]) -> Definition? {
      let found = entries.first { $0.isDefined && $0.isCode && (unit.oldAddress == 0 || $0.value == unit.oldAddress) }
      return found.map { Definition(value: $0.value, size: $0.size, isIndirect: $0.kind == .indirectFunction) }
    }
    let exported = try library.image.symbols().all(named: unit.oldName).filter(\.isDefined)
    if let found = choose(exported) { return found }
    if let other = exported.first(where: \.isCode) {
      return Definition(value: other.value, size: other.size, isIndirect: other.kind == .indirectFunction, isElsewhere: true)
    }
    guard exported.isEmpty, let local = try process.localSymbols(of: library) else { return nil }
    if let found = choose(local.all(named: unit.oldName)) { return found }
    return local.count == 0 && unit.oldAddress != 0 ? Definition(value: unit.oldAddress, size: 0, isIndirect: false) : nil
  }

  /// The patch in force that diverts a function by the journal's word.
  private func diverting(_ entry: UInt64) -> LoadedPatch? {
    patches.first { patch in patch.isInForce(at: universe) && !isLost(patch) && patch.units.contains { $0.entry == entry } }
  }

  /// Whether a detour at `entry` leads where this runtime's journal can have sent it.
  private func isOurs(_ target: UInt64, _ entry: UInt64) -> Bool {
    if runtime.isSelector(target) { return true }
    return patches.contains { patch in patch.units.contains { $0.entry == entry && $0.replacement == target } }
  }

  // MARK: - The set

  private func checkDuplicates(_ applies: [PatchPlan.Apply]) throws(CodedError) {
    var owners: [UInt64: String] = [:]
    for apply in applies {
      for unit in apply.units {
        if let other = owners.updateValue(apply.path, forKey: unit.entry) {
          throw CodedError(
            .containerDuplicate, "\(printable(unit.oldName)) is replaced by \(printable(other)) and by \(printable(apply.path))",
            data: ["symbol": .text(unit.oldName), "paths": .list([.text(other), .text(apply.path)])])
        }
      }
    }
  }

  private func broughtLibraries(_ container: Container) throws(CodedError) -> [String] {
    let libraries = try process.libraries()
    return try container.file.needed().filter { needed in !libraries.contains { $0.answers(to: needed) } }
  }

  /// Every strong undefined symbol of the container must be defined by a loaded object, in the version that it was linked
  /// with, unless the container brings libraries of its own that are not loaded yet. All that are missing are named.
  private func checkResolvable(_ container: Container) throws(CodedError) {
    let libraries = try process.libraries()
    let scope = libraries.compactMap { library -> (LoadedLibrary, SymbolTable, SymbolVersions)? in
      guard let symbols = try? library.image.symbols() else { return nil }
      return (library, symbols, (try? library.image.symbolVersions()) ?? SymbolVersions())
    }
    var missing: [String] = []
    for symbol in try container.undefinedSymbols() where symbol.binding != .weak {
      let version = container.version(of: symbol)
      if !scope.contains(where: { $0.1.defines(symbol.name, version: version, $0.2) }) {
        missing.append(version.map { "\(symbol.name)@\($0)" } ?? symbol.name)
      }
    }
    // The loader asks every library for the versions themselves, too, whether or not a symbol is missing.
    for need in container.neededVersions where !need.isWeak {
      let lacks = scope.contains { library, _, own in
        library.answers(to: need.library) && own.definesAny && !own.defined.values.contains(need.version)
      }
      if lacks { missing.append("version \(need.version) of \(need.library)") }
    }
    guard !missing.isEmpty else { return }
    throw CodedError(
      .containerUnresolved,
      "\(printable(container.path)) needs \(missing.map { printable($0) }.joined(separator: ", ")), which process \(process.pid) does not have",
      data: [
        "pid": .integer(Int64(process.pid)), "path": .text(container.path), "symbols": .list(missing.map { .text($0) }),
      ])
  }
}
