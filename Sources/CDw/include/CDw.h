/* libdw, loaded when a stack is unwound for the first time. See libdw_lazy.c. */
#pragma once

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
