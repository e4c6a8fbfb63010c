/* suse_call.c: the signal mask around a call of SUSE's tool, which takes any stop of the thread for the end and RAX then for
 * the answer. Signals are blocked meanwhile, or one of them would end the call in the middle of the loader.
 */
#include "../../runtime.h"

PULP_RARE_CODE
#ifdef __x86_64__

/* What entry.S blocks, as the kernel tells it: SIGKILL 9 and SIGSTOP 19 cannot be. */
static const uint64_t blocked_here =
  ~(1ull << 3 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 8 | 1ull << 10 | 1ull << 18 | 1ull << 30);

/* abort(3) lets its own signal through. */
static const uint64_t by_abort = 1ull << 5;

/* A call that was ended in its middle, by a fault in a constructor, left signals blocked: what the mask was before is
 * given back by the next one, unless the program has set another meanwhile. */
static uint64_t true_mask;
uint8_t pulp_suse_unfinished;

uint64_t pulp_suse_serve(struct pulp_suse_call *call) {
  if (!pulp_suse_unfinished || (call->mask | by_abort) != blocked_here) true_mask = call->mask;
  pulp_suse_unfinished = 1;
  uint64_t result = call->body(call);
  pulp_suse_unfinished = 0;
  call->mask = true_mask;
  return result;
}
#endif
