// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// The runtime is loaded into other people's processes: it must need libc and nothing else. SwiftPM links every product
/// through swiftc, which would add the Swift runtime and a RUNPATH; `runtime/link` takes both away again (see its README).
let runtimeLinkerFlags: [String] = [
  "-nostartfiles", "-Xclang-linker", "-nostartfiles", "-static-stdlib", "-no-toolchain-stdlib-rpath",
  "-resource-dir", Context.packageDirectory + "/runtime/link",
  "-Xclang-linker", "--ld-path=" + Context.packageDirectory + "/runtime/link/ld",
  "-Xlinker", "-T", "-Xlinker", Context.packageDirectory + "/runtime/link/layout.ld",
  "-Xlinker", "--version-script=" + Context.packageDirectory + "/runtime/pulp.map",
  "-Xlinker", "-soname=libpulp.so.0",
  "-Xlinker", "--hash-style=both",
  "-Xlinker", "-z", "-Xlinker", "now",
  "-Xlinker", "-z", "-Xlinker", "defs",
  "-Xlinker", "-z", "-Xlinker", "nodelete",
  "-Xlinker", "-Bsymbolic",
]

/// General registers only and no builtins: SUSE's tool calls the entry points without saving vector state.
var runtimeCompilerFlags: [String] = [
  "-fvisibility=hidden", "-O2", "-fno-stack-protector", "-ffunction-sections", "-fno-builtin", "-mgeneral-regs-only",
]
#if arch(x86_64)
  // Marks the library as fit for shadow stacks and IBT: one unmarked preload switches them off for the whole process.
  runtimeCompilerFlags.append("-fcf-protection=full")
#endif

let package = Package(
  name: "ulpsh",
  products: [
    .executable(name: "ulpsh", targets: ["ulpsh"]),
    .library(name: "pulp", type: .dynamic, targets: ["pulp"]),
  ],
  targets: [
    // System libraries: a module map and an umbrella header each.
    .systemLibrary(name: "CLua", pkgConfig: "lua5.4", providers: [.apt(["liblua5.4-dev"])]),
    .systemLibrary(name: "CReadline", providers: [.apt(["libreadline-dev"])]),
    .systemLibrary(name: "CElf", providers: [.apt(["libelf-dev"])]),

    // C shims and the contract with the runtime.
    .target(name: "CLuaShim", dependencies: ["CLua", "CReadline", "CLinux"]),
    .target(name: "CDw"),
    .target(name: "CLinux"),
    .target(name: "CPulpABI", cSettings: [.unsafeFlags(runtimeCompilerFlags)]),
    .target(
      name: "pulp", dependencies: ["CPulpABI"], path: "runtime", exclude: ["pulp.map", "link"],
      publicHeadersPath: "include",
      cSettings: [.unsafeFlags(runtimeCompilerFlags)],
      linkerSettings: [.unsafeFlags(runtimeLinkerFlags)]),

    // The tool, lowest layer first.
    .target(name: "Diagnostics", swiftSettings: swiftSettings),
    .target(name: "ELF", dependencies: ["CElf", "CDw", "CLinux", "Diagnostics"], swiftSettings: swiftSettings),
    .target(name: "Tracing", dependencies: ["CLinux", "CPulpABI", "Diagnostics"], swiftSettings: swiftSettings),
    .target(name: "Inferior", dependencies: ["Tracing", "ELF", "CDw", "CLinux", "Diagnostics"], swiftSettings: swiftSettings),
    .target(
      name: "LivePatch", dependencies: ["Inferior", "Tracing", "ELF", "CPulpABI", "Diagnostics"], swiftSettings: swiftSettings),
    .target(name: "LuaBridge", dependencies: ["CLua", "CLuaShim", "Diagnostics"], swiftSettings: swiftSettings),
    .target(
      name: "LuaBindings", dependencies: ["LuaBridge", "LivePatch", "Inferior", "Tracing", "ELF", "CLinux", "Diagnostics"],
      swiftSettings: swiftSettings),
    .target(name: "Shell", dependencies: ["LuaBridge", "CLuaShim", "CLinux", "CReadline", "Diagnostics"], swiftSettings: swiftSettings),
    .executableTarget(
      name: "ulpsh", dependencies: ["Shell", "LuaBindings", "LuaBridge", "Diagnostics"], exclude: ["link"],
      swiftSettings: swiftSettings,
      linkerSettings: [
        .unsafeFlags(
          ["-static-stdlib", "-Xclang-linker", "--ld-path=" + Context.packageDirectory + "/Sources/ulpsh/link/ld"],
          .when(configuration: .release))
      ]),

    .testTarget(name: "DiagnosticsTests", dependencies: ["Diagnostics"], swiftSettings: swiftSettings),
    .testTarget(name: "ELFTests", dependencies: ["ELF", "CLinux"], swiftSettings: swiftSettings),
    .testTarget(name: "TracingTests", dependencies: ["Tracing", "Inferior", "CLinux", "CPulpABI"], swiftSettings: swiftSettings),
    .testTarget(name: "LivePatchTests", dependencies: ["LivePatch", "CPulpABI"], swiftSettings: swiftSettings),
    .testTarget(name: "InferiorTests", dependencies: ["Inferior", "Tracing", "Diagnostics"], swiftSettings: swiftSettings),
    .testTarget(
      name: "LiveTests", dependencies: ["LivePatch", "Inferior", "ELF", "Tracing", "CLinux", "CPulpABI", "Diagnostics"],
      swiftSettings: swiftSettings),
    .testTarget(name: "LuaBridgeTests", dependencies: ["LuaBridge"], swiftSettings: swiftSettings),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .gnu11
)
