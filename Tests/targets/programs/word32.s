# A 32-bit process without a libc: says "ready", then echoes what it reads until stdin ends.
	.text
	.globl _start
_start:
	mov $4, %eax		# write(1, ready, 6)
	mov $1, %ebx
	mov $ready, %ecx
	mov $6, %edx
	int $0x80
1:	mov $3, %eax		# read(0, buffer, 64)
	xor %ebx, %ebx
	mov $buffer, %ecx
	mov $64, %edx
	int $0x80
	test %eax, %eax
	jle 2f
	mov %eax, %edx
	mov $4, %eax		# write(1, buffer, as much)
	mov $1, %ebx
	mov $buffer, %ecx
	int $0x80
	jmp 1b
2:	mov $1, %eax		# exit(0)
	xor %ebx, %ebx
	int $0x80
	.section .rodata
ready:	.ascii "ready\n"
	.bss
	.lcomm buffer, 64
