/* libdw and libelf, loaded when they are needed for the first time. See libdw_lazy.c, elf_write.c, debug_names.c. */
#pragma once

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include "debug_names.h"
#include "demangle.h"
#include "elf_write.h"
#include "shared_elf.h"
