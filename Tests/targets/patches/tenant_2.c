/* The calling thread's instance of the library's variable: what __tls_get_addr needs is filled in when the patch is loaded. */
struct {
  unsigned long module, offset;
} mine_ref;
void *__tls_get_addr(void *);

long tenant_get_2(void) { return -*(long *)__tls_get_addr(&mine_ref); }
