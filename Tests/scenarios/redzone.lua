-- timeout: 120
-- A loop that keeps its counters below the stack pointer, in the red zone, is borrowed, stopped and checked: they stay.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libredzone", code = [[int dozen(void) { return 12; }]]}
-- The only thread of the process, so it is the one that is borrowed.
local program = t.cc {kind = "program", as = "redzone", libraries = {library}, link = {"-rdynamic"}, code = [[
  #include <stdio.h>
  int dozen(void);
  volatile long spoiled, rounds, last;
  /* Fills the 128 bytes below %rsp with numbers, counts in one of them for a while and compares the others; returns how many
   * are wrong (System V AMD64 psABI, 3.2.2: signal and interrupt handlers leave them alone). */
  long spin(long turns);
  __asm__(".text\n.globl spin\n.type spin, @function\nspin:\n.cfi_startproc\n"
    "mov $-120, %rcx\n1: lea 0x5a5a(%rcx), %rax\nmov %rax, (%rsp,%rcx)\nadd $8, %rcx\njnz 1b\n"
    "movq $0, -128(%rsp)\n"
    "2: incq -128(%rsp)\ncmp %rdi, -128(%rsp)\njb 2b\n"
    "xor %eax, %eax\ncmp %rdi, -128(%rsp)\nsetne %al\n"
    "mov $-120, %rcx\n3: lea 0x5a5a(%rcx), %rdx\ncmp %rdx, (%rsp,%rcx)\nje 4f\ninc %rax\n4: add $8, %rcx\njnz 3b\n"
    "ret\n.cfi_endproc\n.size spin, . - spin");
  int main(void) {
    puts("ready");
    for (fflush(stdout);; rounds++) {
      last = dozen();
      spoiled += spin(2000000);
    }
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

local c <close> = t.target {program}
local p <close> = assert(ulp.attach(c.pid))
local function variable(name) return (string.unpack("<i8", p:read(p:symbol(name), 8))) end

--- Waits for two whole rounds: what `last` says then was computed after the change.
local function shows(expected)
  local from = variable "rounds"
  t.wait_until(function() return variable "rounds" >= from + 2 end, "the loop goes on")
  t.eq(variable "last", expected, "what the function returned")
  t.eq(variable "spoiled", 0, "spoiled numbers in the red zone")
end
t.switches(p, fix, {old = 12, new = 13}, function(expected)
  shows(expected)
  for _ = 1, 5 do
    t.ok(ulp.check(p, fix).state, "check")
    t.eq(t.insist(function() return p:stopped(function(threads) return #threads end) end), 1, "threads")
  end
  shows(expected)
end, 8)
