/* What a constructor can do wrong: each misdeed_NAME.so has one of these in its constructor. They all replace dozen(). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <dlfcn.h>

int dozens_13(void) { return 13; }

extern int dozen(void);
int *volatile nowhere;
volatile int zero, spins;

static void misdeed(void);
__attribute__((constructor)) static void begin(void) { misdeed(); }
