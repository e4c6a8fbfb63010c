import Testing
@testable import LuaBridge
@Test func builds() { }
