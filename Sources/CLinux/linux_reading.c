/* linux_reading.c: what is only read, of processes and of this machine. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

int ul_read_status(pid_t tid, char *text, size_t size) {
  char path[32] = "/proc/", digits[12];
  size_t length = 0, at = 6;
  for (pid_t rest = tid; rest > 0; rest /= 10) digits[length++] = (char)('0' + rest % 10);
  while (length > 0) path[at++] = digits[--length];
  memcpy(path + at, "/status", 8);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  ssize_t count = read(descriptor, text, size - 1);
  close(descriptor);
  if (count <= 0) return 0;
  text[count] = 0;
  return 1;
}

long ul_vm_read(pid_t pid, void *local, uint64_t remote, size_t count) {
  struct iovec to = {local, count}, from = {(void *)remote, count};
  ssize_t result = process_vm_readv(pid, &to, 1, &from, 1, 0);
  return result < 0 ? -errno : result;
}

/* <linux/fs.h> of Linux 6.11. */
struct procmap_query {
  uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
  uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
  uint64_t vma_name_addr, build_id_addr;
};
#define QUERY_PROCMAP _IOWR('f', 17, struct procmap_query)
enum { QUERY_EXECUTABLE = 0x04, QUERY_COVERING_OR_NEXT = 0x10 };

long ul_code_mappings(pid_t pid, struct ul_code_mapping *mappings, int most) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int count = 0, failed = 0;
  for (uint64_t next = 0; count < most && !failed;) {
    struct procmap_query query = {
        .size = sizeof query, .query_flags = QUERY_EXECUTABLE | QUERY_COVERING_OR_NEXT, .query_addr = next};
    if (ioctl(fd, QUERY_PROCMAP, &query)) {
      failed = errno;
      break;
    }
    mappings[count++] = (struct ul_code_mapping){
        query.vma_start, query.vma_end, query.vma_offset, query.inode, query.dev_major, query.dev_minor};
    next = query.vma_end;
  }
  close(fd);
  return failed && failed != ENOENT ? -failed : count; /* ENOENT: there is none behind */
}

long ul_vm_read_pieces(pid_t pid, void *local, const uint64_t *addresses, int pieces, size_t count) {
  struct iovec to = {local, (size_t)pieces * count}, from[UL_VM_PIECES];
  if (pieces > UL_VM_PIECES) return -EINVAL;
  for (int i = 0; i < pieces; i++) from[i] = (struct iovec){(void *)addresses[i], count};
  ssize_t result = process_vm_readv(pid, &to, 1, from, (unsigned long)pieces, 0);
  return result < 0 ? -errno : result;
}

long ul_pidfd_open(pid_t pid) {
  long result = syscall(SYS_pidfd_open, pid, 0);
  return result < 0 ? -errno : result;
}

int ul_pidfd_ended(int fd) {
  struct pollfd entry = {fd, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

int ul_is_proc(const char *path) {
  struct statfs facts;
  return statfs(path, &facts) == 0 && facts.f_type == 0x9fa0; /* PROC_SUPER_MAGIC */
}

long ul_getdents(int fd, void *buffer, size_t size) {
  long result = syscall(SYS_getdents64, fd, buffer, size);
  return result < 0 ? -errno : result;
}

uint64_t ul_monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int ul_vdso_descriptor(void) {
  const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
  if (!image) return -ENOENT;
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
  size_t size = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize; /* section headers come last */
  int descriptor = memfd_create("vdso", MFD_CLOEXEC);
  if (descriptor < 0) return -errno;
  if (write(descriptor, image, size) == (ssize_t)size) return descriptor;
  close(descriptor);
  return -EIO;
}
