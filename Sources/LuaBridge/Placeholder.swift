enum LuaBridgePlaceholder {}
