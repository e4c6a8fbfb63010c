/* The runtime has no C API: its contract is CPulpABI. */
