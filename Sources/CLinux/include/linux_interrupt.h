/* Ctrl-C as a flag that any layer can look at.
 *
 * The handler only stores; whoever blocks (a wait for a tracee, a Lua loop) looks at the flag at a moment when stopping
 * is safe. The handler is installed without SA_RESTART, so that blocking system calls return EINTR and give that moment. */
#pragma once

/* Installs the SIGINT handler. `also` (may be NULL) runs inside the handler: it must be async-signal-safe. */
void ul_interrupt_install(void (*_Nullable also)(void));

/* Puts the default action back, so that a re-raised SIGINT ends the program as its parent expects. */
void ul_interrupt_uninstall(void);

/* 1 while an interrupt waits to be served. */
int ul_interrupt_requested(void);

/* 1 if an interrupt waited; it is served now. The one who takes it must fail with `script.interrupted`. */
int ul_interrupt_take(void);

/* Forgets interrupts and starts counting anew: the shell calls this before each statement. */
void ul_interrupt_reset(void);

/* How often Ctrl-C was hit since the last reset. */
int ul_interrupt_count(void);
