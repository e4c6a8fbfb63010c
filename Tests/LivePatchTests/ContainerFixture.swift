import Foundation

@testable import ELF
@testable import LivePatch

/// A library, a container for it and a description, compiled when a test runs, in a directory that goes away with the value.
final class ContainerFixture {
  let directory: String

  init() {
    var bytes = Array((FileManager.default.temporaryDirectory.path + "/ulpsh-pack-XXXXXX").utf8CString)
    directory = String(cString: mkdtemp(&bytes))
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  func path(_ name: String) -> String { directory + "/" + name }

  static let library = """
    int banner_length = 6;
    __thread int depth = 1;
    int dozen(void) { return 12; }
    static int helper(int x) { return x + banner_length + depth; }
    int twice(int x) { return helper(x) * 2; }
    __attribute__((patchable_function_entry(0, 0))) int unprepared(void) { return 0; }
    static int impl(void) { return 1; }
    static int (*choose(void))(void) { return impl; }
    int indirect(void) __attribute__((ifunc("choose")));
    """

  static let patch = """
    int *ulpr_banner_length;
    struct { unsigned long module, offset; } ulpr_depth;
    int small_variable[1];
    int new_dozen(void) { return 13; }
    int new_helper(int x) { return x + *ulpr_banner_length; }
    __attribute__((visibility("hidden"))) int hidden_dozen(void) { return 14; }
    extern int getpid(void);
    int calls_out(void) { return getpid(); }
    __attribute__((constructor)) static void prepare(void) { small_variable[0] = 1; }
    """

  static let description = """
    ! Fixes bsc#1234 and jsc#SLE-77
    fix.so
    ! and CVE-2024-0001
    @libdozen.so.1

    dozen:new_dozen
    helper:new_helper
    #banner_length:ulpr_banner_length
    #%depth:ulpr_depth

    """

  func compile(_ source: String, _ name: String, _ options: [String]) throws {
    try source.write(toFile: path(name + ".c"), atomically: true, encoding: .utf8)
    try run("gcc", ["-shared", "-fPIC", "-O1", "-fno-inline"] + options + ["-o", path(name), path(name + ".c")])
  }

  /// The usual set: library, container, description. Returns the description's path.
  func build(description: String = ContainerFixture.description, libraryOptions: [String] = []) throws -> String {
    let prepared = ["-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1", "-Wl,-soname,libdozen.so.1"]
    try compile(ContainerFixture.library, "libdozen.so.1", prepared + libraryOptions)
    try compile(ContainerFixture.patch, "fix.so", ["-Wl,--build-id=sha1"])
    return try describe(description)
  }

  func describe(_ text: String) throws -> String {
    try text.write(toFile: path("fix.dsc"), atomically: true, encoding: .utf8)
    return path("fix.dsc")
  }

  @discardableResult
  func run(_ tool: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [tool] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw ToolFailure(tool: tool, output: output) }
    return output
  }

  func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path(name)))) }
  func write(_ bytes: [UInt8], _ name: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path(name))) }
}

struct ToolFailure: Error, CustomStringConvertible {
  let tool: String
  let output: String
  var description: String { "\(tool): \(output)" }
}
