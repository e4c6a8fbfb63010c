#pragma once
#include "lua_shim.h"
#include "readline_glue.h"
