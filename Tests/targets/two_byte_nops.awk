# Merges the two one-byte nops that follow a function's label into one two-byte nop (66 90).
# The nops of the padding come before the label and stay.
/^[A-Za-z_][A-Za-z_0-9]*:/ { in_entry = 1 }
in_entry && /^\tnop$/ { nops++; if (nops == 2) { print "\t.byte 0x66, 0x90"; nops = 0; in_entry = 0 } ; next }
{ print }
