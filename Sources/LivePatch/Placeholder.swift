enum LivePatchPlaceholder {}
