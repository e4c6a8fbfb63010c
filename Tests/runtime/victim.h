/* victim.h: what the victim of call_test shares with it, in a mapping that both have. */
#ifndef VICTIM_H
#define VICTIM_H
#include <stdatomic.h>
#include <stdint.h>

enum { PROBE_A, PROBE_B, NANOSLEEP, POLL, READ, FUTEX, EPOLL, MAIN, VICTIM_THREADS };

struct victim_thread {
  atomic_int tid;
  atomic_ulong progress;  /* loops done */
  atomic_ulong corrupt;   /* registers or results that were not as expected */
  atomic_ulong eintr;
  atomic_ulong late;      /* waits that took much too long */
};

struct victim_shared {
  atomic_int ready, quit;
  uint64_t ext;
  uint64_t callee, faulty, sleeper; /* functions to call */
  atomic_ulong calls;      /* entered callees */
  atomic_ulong left;       /* finished callees */
  atomic_ulong wrong;      /* arguments, stack or mask were not as promised */
  atomic_ulong signals;    /* handled */
  struct victim_thread threads[VICTIM_THREADS];
};
#endif
