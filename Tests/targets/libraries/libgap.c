/* Calls back, without a frame pointer of its own. */
int gap(int (*callback)(void)) { return callback() + 1; }
