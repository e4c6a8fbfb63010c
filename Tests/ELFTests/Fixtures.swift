import Foundation

@testable import ELF

/// Small objects compiled when the tests run, each in a directory of its own that goes away with the value.
final class Fixture {
  let directory: String

  init() {
    let template = FileManager.default.temporaryDirectory.path + "/ulpsh-elf-XXXXXX"
    var bytes = Array(template.utf8CString)
    directory = String(cString: mkdtemp(&bytes))
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  func path(_ name: String) -> String { directory + "/" + name }

  /// Compiles C (or C++ when `name` says so) and returns the path of the result.
  func compile(_ source: String, _ name: String, _ options: [String], compiler: String = "gcc") throws -> String {
    let sourcePath = path(name + ".c")
    try source.write(toFile: sourcePath, atomically: true, encoding: .utf8)
    let output = path(name)
    try run(compiler, options + ["-o", output, sourcePath])
    return output
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

  func write(_ bytes: [UInt8], _ name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: path(name)))
    return path(name)
  }

  func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }
}

struct ToolFailure: Error, CustomStringConvertible {
  let tool: String
  let output: String
  var description: String { "\(tool): \(output)" }
}

/// A library with one of everything that the reader looks at.
let librarySource = """
  __thread int counter = 3;
  int shared_value = 7;
  static int hidden_helper(int x) { return x + shared_value; }
  int (*keep)(int) = hidden_helper;
  int triple(int x) { return x * 3; }
  __attribute__((visibility("hidden"))) int invisible(int x) { return x - 1; }
  extern int puts(const char *);
  void greet(void) { puts("hello"); counter++; }
  __attribute__((constructor)) static void wake(void) { shared_value++; }
  static int chosen(int x) { return x; }
  static int (*choose(void))(int) { return chosen; }
  int selected(int) __attribute__((ifunc("choose")));
  """

let libraryOptions = [
  "-shared", "-fPIC", "-O1", "-fcf-protection=none", "-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1",
  "-Wl,-soname,libsample.so.1", "-Wl,--no-as-needed",
]
