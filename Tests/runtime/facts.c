/* facts.c: prints one fact about the process it is. */
#include "request.h"

static int find_extent(struct dl_phdr_info *info, size_t size, void *extent) {
  (void)size;
  if (!strstr(info->dlpi_name, "libpulp.so")) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_LOAD)
      ((uint64_t *)extent)[1] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
  ((uint64_t *)extent)[0] = info->dlpi_addr;
  return 1;
}

/* Counts the present pages of [first, last), and of them the anonymous ones: bits 63 and 61 of proc_pid_pagemap(5). A sum over
 * mappings would take in neighbours that the kernel has merged with ours. */
static void count_pages(int pagemap, uint64_t first, uint64_t last, long counts[2]) {
  for (uint64_t page = first / 4096; page < (last + 4095) / 4096; page++) {
    uint64_t entry;
    if (pread(pagemap, &entry, sizeof entry, (off_t)(page * sizeof entry)) != sizeof entry || !(entry >> 63)) continue;
    counts[0]++;
    counts[1] += !(entry >> 61 & 1);
  }
}

/* Prints the resident KiB of the runtime itself, .bss and call stack included, and how many of them are this process's own. */
static void print_own(const struct pulp_ext *found) {
  uint64_t extent[2] = {0, 0};
  long counts[2] = {0, 0};
  int pagemap = open("/proc/self/pagemap", O_RDONLY);
  dl_iterate_phdr(find_extent, extent);
  count_pages(pagemap, extent[0], extent[1], counts);
  count_pages(pagemap, found->call_stack_bottom, found->call_stack_top, counts);
  close(pagemap);
  printf("%ld %ld\n", 4 * counts[0], 4 * counts[1]);
}

int main(int count, char **arguments) {
  const char *what = count > 1 ? arguments[1] : "";
  struct pulp_ext *found = dlsym(RTLD_DEFAULT, "__ulp_ext");
  if (!strcmp(what, "descriptors")) {
    int open_count = 0;
    for (int fd = 0; fd < 1000; fd++) open_count += fcntl(fd, F_GETFD) >= 0;
    printf("%d\n", open_count);
  } else if (!found) {
    puts("no runtime");
  } else if (!strcmp(what, "state")) {
    printf("%d\n", *(int32_t *)AT(found->error_state));
  } else if (!strcmp(what, "loaded")) {
    printf("%d %lu %u\n", ((struct pulp_state *)AT(found->state))->load_state, *(uint64_t *)AT(found->universe), found->stub_size);
  } else if (!strcmp(what, "own")) {
    print_own(found);
  } else if (!strcmp(what, "stack")) {
    printf("%lu\n", found->call_stack_top);
  }
  return 0;
}
