import Glibc

/// Writes to a descriptor after what the C library still buffers, so that both stay in order.
func write(_ text: String, to descriptor: Int32) {
  fflush(nil)
  var rest = Array(text.utf8)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    guard count > 0 else { return }
    rest = rest.dropFirst(count)
  }
}

/// The bytes of a file or of standard input; nil and errno if it cannot be read.
func readAll(_ descriptor: Int32) -> [UInt8]? {
  var content: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 16384)
  while true {
    let count = block.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    if count == 0 { return content }
    if count < 0 {
      if errno == EINTR { continue }
      return nil
    }
    content += block[..<count]
  }
}

/// `getenv` for variables that are set and not empty.
func environment(_ name: String) -> String? {
  guard let value = getenv(name), value.pointee != 0 else { return nil }
  return String(cString: value)
}
