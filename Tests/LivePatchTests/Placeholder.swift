import Testing
@testable import LivePatch
@Test func builds() { }
