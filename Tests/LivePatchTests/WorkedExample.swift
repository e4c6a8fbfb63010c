/// The bytes of the worked example of the libpulp container format.
let workedExample = hexBytes(
  """
  01 9bd0bbe39f3a333b9e1892fca39f07ce cea01f1297ad33a23df05daa9313fa22
  14000000 b810226a02f6843bc4ae636d298f7ef6e69ecd30 0f000000 6c69626163636573732e736f2e3000
  01000000 0b000000 62616e6e65725f73657400 0f000000 6e65775f62616e6e65725f73657400 2e11000000000000
  00000000 01000000 07000000 62616e6e657200 0c000000 756c70725f62616e6e657200 0840000000000000 1840000000000000 00
  """)
let workedRevertExample = hexBytes(
  """
  02 9bd0bbe39f3a333b9e1892fca39f07ce cea01f1297ad33a23df05daa9313fa22
  14000000 b810226a02f6843bc4ae636d298f7ef6e69ecd30 0e000000 6c69626163636573732e736f2e30
  """)

func hexBytes(_ hexadecimal: String) -> [UInt8] {
  let digits = Array(hexadecimal.filter { !$0.isWhitespace })
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16)! }
}
