/* Headers only; SwiftPM wants a source file. Compiling this checks the assertions. */
#include "pulp_abi.h"
