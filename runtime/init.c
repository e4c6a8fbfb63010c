#include <unistd.h>
__attribute__((visibility("default"))) int __ulp_ext = 1;
int pulp_x(void); int pulp_x(void){return getpid();}
