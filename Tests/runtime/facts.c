/* facts.c: prints one fact about the process it is. */
#include "request.h"

/* Resident KiB of the mappings that belong to the runtime itself, .bss and call stack included. */
static int find_extent(struct dl_phdr_info *info, size_t size, void *extent) {
  (void)size;
  if (!strstr(info->dlpi_name, "libpulp.so")) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_LOAD)
      ((uint64_t *)extent)[1] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
  ((uint64_t *)extent)[0] = info->dlpi_addr;
  return 1;
}

static long own_kib(const struct pulp_ext *found) {
  uint64_t extent[2] = {0, 0}, start = 0, end = 0;
  char line[4096];
  long sum = 0, kib;
  dl_iterate_phdr(find_extent, extent);
  FILE *file = fopen("/proc/self/smaps", "r");
  while (fgets(line, sizeof line, file)) {
    sscanf(line, "%lx-%lx ", &start, &end);
    bool ours = (start >= extent[0] && start < extent[1]) || (start <= found->call_stack_bottom && found->call_stack_bottom < end);
    if (ours && sscanf(line, "Rss: %ld", &kib) == 1) sum += kib;
  }
  fclose(file);
  return sum;
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
    printf("%ld\n", own_kib(found));
  } else if (!strcmp(what, "stack")) {
    printf("%lu\n", found->call_stack_top);
  }
  return 0;
}
