int gap_2(int (*callback)(void)) { return callback() + 2; }
