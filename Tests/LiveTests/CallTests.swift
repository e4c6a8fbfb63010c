import CLinux
import CPulpABI
import Diagnostics
import ELF
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

extension Live {
  @Suite(.serialized) struct Calls {
    /// The whole state of a thread that spins with a pattern in every register: the call in between destroys all it may.
    @Test func nothingOfTheCarrierChanges() throws {
      let puppet = try Puppet()
      let target = puppet.target
      let deadline = Deadline.patient
      var session = try TraceSession(target.process.memory)
      try session.seize(puppet.tid)
      _ = try session.stop(puppet.tid, until: deadline)
      var raw = try registers(of: puppet.tid, in: session).raw
      (raw.rip, raw.orig_rax, raw.rsp) = (try target.address("fill"), UInt64.max, (raw.rsp - 8192) & ~15 + 4)
      session.setRegisters(Registers(raw), of: puppet.tid)
      session.resume(puppet.tid)
      let spins = try target.address("fill_spins")
      try target.wait("the registers are not filled") {
        _ = try session.stop(puppet.tid, until: deadline)
        raw = try registers(of: puppet.tid, in: session).raw
        if raw.rip &- spins >= 4 { session.resume(puppet.tid) }
        return raw.rip &- spins < 4
      }
      raw.rip = spins
      (raw.rax, raw.rbx, raw.rcx, raw.rdx, raw.rsi, raw.rdi, raw.rbp) = (0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x17)
      (raw.r8, raw.r9, raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15) = (0x28, 0x39, 0x4a, 0x5b, 0x6c, 0x7d, 0x8e, 0x9f)
      raw.eflags = 0xed7  // CF PF AF ZF SF IF DF OF: a program may be stopped in a backward copy
      session.setRegisters(Registers(raw), of: puppet.tid)
      try session.commitRegisters(of: puppet.tid)
      let mask: UInt64 = 0x1_0000_0200
      #expect(ul_set_signal_mask(puppet.tid, mask) >= 0)
      let redZone = (0..<16).map { UInt64($0) &* 0x9e37_79b9_7f4a_7c15 }
      try target.process.memory.write(redZone.withUnsafeBytes { Array($0) }, to: raw.rsp - 128)
      let above = try target.process.memory.read(raw.rsp, count: 256)
      let state = try session.extendedState(of: puppet.tid)

      let site = target.runtime.callSite
      try session.beginCall(
        on: puppet.tid, site, function: try target.address("clobber"), arguments: [42], sequence: 5, owner: target.process.identity)
      let mailbox = try session.awaitCall(on: puppet.tid, site, sequence: 5, until: deadline)
      #expect(mailbox.result == 0 &- 42 && mailbox.result_high == 7)
      session.endCall(on: puppet.tid)
      try target.wait("the carrier does not come back") {
        _ = try session.stop(puppet.tid, until: deadline)
        let found = try registers(of: puppet.tid, in: session)
        if site.isInside(found) { session.resume(puppet.tid) }
        return !site.isInside(found)
      }
      var after = try registers(of: puppet.tid, in: session).raw
      #expect(after.rip &- spins < 4)
      after.rip = raw.rip
      // `pause; jmp` changes no flag; RF is the debugger's.
      after.eflags &= ~0x10000
      after.orig_rax = raw.orig_rax
      #expect(withUnsafeBytes(of: after) { Array($0) } == withUnsafeBytes(of: raw) { Array($0) })
      let found = try session.extendedState(of: puppet.tid)
      let differing = found.indices.filter { found[$0] != state[$0] }
      #expect(found.count == state.count && differing.isEmpty, "x87, xmm, ymm, zmm, k, mxcsr: XSAVE image differs at \(differing)")
      #expect(try target.process.memory.read(raw.rsp - 128, count: 128) == redZone.withUnsafeBytes { Array($0) })
      #expect(try target.process.memory.read(raw.rsp, count: 256) == above)
      var maskAfter: UInt64 = 0
      #expect(ul_get_signal_mask(puppet.tid, &maskAfter) >= 0 && maskAfter == mask)
      session.end()
      #expect(target.isUnharmed)
    }

    /// A tool that goes away in the middle of a slow call leaves the call running; the next one finds it, and then its end.
    @Test func aCallThatOutlivesItsToolIsFoundAndRecovered() throws {
      // The constructor takes 200 ms. Where the machine takes longer for what is to happen meanwhile, it happens again.
      for _ in 0..<100 { if try aCallOutlivesItsTool() { return } }
      Issue.record("the call was never met while it ran")
    }

    private func aCallOutlivesItsTool() throws -> Bool {
      let target = try Target("numserv")
      let slow = try Targets.container("dozens_late")
      let plan = try target.plan([slow])
      var options = StageOptions()
      options.timeout = 10_000
      options.isPatient = true
      let late = failure { _ = try PatchOperation.stage(plan, target.runtime, options) }
      if late == .carrierNone { return false }
      #expect(late == .callTimeout)
      try target.wait("the carrier does not begin") { try ["staging", "staged"].contains(target.runtime.operationState().name) }
      let busy = [
        failure { _ = try target.runtime.recover(timeout: 1000) },
        failure { _ = try target.runtime.call(target.runtime.ext.stage, [], timeout: 1_000_000) },
      ]
      if try target.runtime.operationState().name != "staging" { return false }
      #expect(busy == [.callBusy, .callBusy])
      let outcome = try target.runtime.recover()
      #expect(outcome.found == .staged && outcome.action == .undone && outcome.unloaded.map(\.state) == [.unloaded])
      #expect(try target.ask("dozen") == "12")
      try target.change([slow])
      #expect(try target.ask("dozen") == "13")
      #expect(target.isUnharmed)
      return true
    }

    /// A constructor that crashes does not take the program with it, and what it had begun can be cleared.
    @Test func aCrashingConstructorIsReported() throws {
      let target = try Target("signals")
      let crash = try Targets.container("misdeed_segv")
      #expect(failure { _ = try target.stage([crash]) } == .callFault)
      #expect(try target.ask("dozen") == "12")
      #expect(target.isUnharmed)
      _ = try target.runtime.recover(timeout: 200_000)
      #expect(try target.runtime.operationState().name == "idle")
      #expect(try target.ask("dozen") == "12")
    }
  }

  @Suite(.serialized) struct Carriers {
    /// Why the puppet, standing so, cannot be borrowed.
    private func refusal(_ puppet: Puppet, _ prepare: (inout TraceSession, inout Registers) throws -> Void) throws -> String {
      let target = puppet.target
      var session = try TraceSession(target.process.memory)
      try session.seize(puppet.tid)
      _ = try session.stop(puppet.tid, until: .patient)
      var registers = try LiveTests.registers(of: puppet.tid, in: session)
      registers.raw.orig_rax = UInt64.max
      registers.raw.rsp = (registers.raw.rsp - 8192) & ~15 - 8
      try target.process.memory.store(try target.address("landing_return"), to: registers.raw.rsp)
      try prepare(&session, &registers)
      session.setRegisters(registers, of: puppet.tid)
      do {
        _ = try target.process.borrowCarrier(
          &session, site: target.runtime.callSite, until: Deadline(afterMicroseconds: 0), only: puppet.tid)
        session.end()
        return "borrowed"
      } catch {
        session.end()
        guard error.code == .carrierNone else { throw error }
        return error.message
      }
    }

    @Test func aThreadInTheAllocatorIsRefused() throws {
      let puppet = try Puppet()
      for name in ["malloc", "free", "calloc", "realloc"] {
        let message = try refusal(puppet) { _, registers in
          registers.raw.rip = try #require(try puppet.target.process.symbol(name))
          registers.raw.rdi = 0
          registers.raw.rsi = 0
        }
        #expect(message.contains("in the allocator"), "\(name): \(message)")
        #expect(puppet.target.isUnharmed)
      }
    }

    /// The lock is held by a caller further out.
    @Test func aCallerInTheAllocatorIsRefused() throws {
      let puppet = try Puppet()
      let malloc = try #require(try puppet.target.process.symbol("malloc"))
      // A `ret` inside of it, so that the puppet can go on when it has been refused.
      let back = try #require(try puppet.target.process.memory.read(malloc, count: 400).firstIndex(of: 0xc3))
      let message = try refusal(puppet) { _, registers in
        registers.raw.rip = puppet.point + 2
        registers.raw.rsp -= 8
        try puppet.target.process.memory.store(malloc + UInt64(back), to: registers.raw.rsp)
      }
      #expect(message.contains("in the allocator"), "\(message)")
    }

    @Test func aThreadInTheLoaderIsRefused() throws {
      let puppet = try Puppet()
      let message = try refusal(puppet) { _, registers in
        let loader = try #require(try puppet.target.process.libraries().first { $0.name.hasPrefix("ld-linux") })
        registers.raw.rip = try #require(try loader.image.address(of: "__tls_get_addr")).rawValue
        // A module and offset that every program has: errno's.
        registers.raw.rdi = registers.raw.rsp + 64
        try puppet.target.process.memory.write([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], to: registers.raw.rdi)
      }
      #expect(message.contains("in the dynamic loader"), "\(message)")
      #expect(puppet.target.isUnharmed)
    }

    @Test func aThreadWithASignalWaitingIsRefused() throws {
      let puppet = try Puppet()
      let message = try refusal(puppet) { _, registers in
        registers.raw.rip = try puppet.target.address("puppet_wait")
        _ = tgkill(puppet.target.pid, puppet.tid, SIGUSR1)
      }
      #expect(message.contains("a signal waits for it"), "\(message)")
      try puppet.target.wait("the handler was not entered") { try puppet.target.integer("handler_entered") == 1 }
      // Now it is in the handler.
      let inside = try {
        var session = try TraceSession(puppet.target.process.memory)
        let code = failure {
          _ = try puppet.target.process.borrowCarrier(
            &session, site: puppet.target.runtime.callSite, until: Deadline(afterMicroseconds: 0), only: puppet.tid)
        }
        session.end()
        return code
      }()
      #expect(inside == .carrierNone)
      try puppet.release()
      try puppet.target.wait("the handler does not return") { try puppet.target.integer("handler_left") == 1 }
      let free = try puppet.target.runtime.call(try #require(try puppet.target.process.symbol("getpid")), [], timeout: patienceMicroseconds, thread: puppet.tid)
      #expect(free.value == UInt64(puppet.target.pid) && free.carrier == puppet.tid)
    }

    /// The frame needs room below the stack pointer, and the kernel grows no stack for a write from outside.
    @Test(arguments: [UInt64(8), 96, 4096, 16000]) func aThreadAtTheEndOfItsStackIsRefused(room: UInt64) throws {
      let puppet = try Puppet()
      let message = try refusal(puppet) { _, registers in
        let stack = try #require(MemoryMap(of: puppet.target.pid).mapping(containing: registers.raw.rsp))
        registers.raw.rsp = stack.range.lowerBound + room
        registers.raw.rip = try puppet.target.address("puppet_wait")
      }
      #expect(message.contains("its stack has only \(room) bytes left"), "\(message)")
      #expect(puppet.target.isUnharmed)
    }

    @Test func aStackThatIsNoneIsRefused() throws {
      for (place, reason) in [(UInt64(0x10), "points nowhere"), (nil, "is not writable")] as [(UInt64?, String)] {
        let puppet = try Puppet()
        let pointer = place ?? puppet.entry
        let message = try refusal(puppet) { _, registers in
          registers.raw.rsp = pointer
          registers.raw.rip = try puppet.target.address("puppet_wait")
        }
        #expect(message.contains(reason), "\(message)")
      }
    }

    /// A thread in vfork stands in D until the child ends: it is passed over, another is borrowed, and nothing stays behind.
    @Test func aLeaderInVforkIsPassedOver() throws {
      let puppet = try Puppet()
      let target = puppet.target
      let getpid = try #require(try target.process.symbol("getpid"))
      func state() -> UInt8? { ThreadList.state(of: target.pid, in: target.pid) }
      func fork() throws {
        _ = try target.child.write(Array("vfork\n".utf8), seconds: patience)
        try target.wait("it does not fork") { state() == UInt8(ascii: "D") }
      }
      try fork()
      let result = try target.runtime.call(getpid, [], timeout: patienceMicroseconds)
      #expect(result.carrier == puppet.tid && state() == UInt8(ascii: "D"))
      // The leader is still ours, as it could not be detached: that is not somebody else's operation.
      #expect(try target.process.facts().tracer == ul_thread_id())
      try target.set("vfork_go", 1)
      let next = try patiently { try target.runtime.call(getpid, [], timeout: patienceMicroseconds) }
      #expect(next.value == UInt64(target.pid))
      try target.wait("the leader is not let go") { try target.process.facts().tracer == 0 && target.integer("vfork_go") == 0 }

      // A world-stop is not possible, and says so in time; what was stopped goes on.
      try fork()
      var session = try TraceSession(target.process.memory)
      do {
        _ = try session.stopWorld(until: Deadline(afterMicroseconds: 50_000))
        Issue.record("a thread in D was stopped")
      } catch { #expect(error.code == .processUnstoppable) }
      try target.wait("the others do not go on") { ThreadList.state(of: puppet.tid, in: target.pid) == UInt8(ascii: "S") }
      session.end()
      try target.set("vfork_go", 1)
      try target.wait("the leader is not let go") { try target.process.facts().tracer == 0 && target.integer("vfork_go") == 0 }
      #expect(try puppet.target.ask("call") == "1")
      try puppet.target.change([puppet.second])
      #expect(try puppet.target.ask("call") == "2")
      #expect(puppet.target.isUnharmed)
    }
  }
}
