enum InferiorPlaceholder {}
