enum LuaBindingsPlaceholder {}
