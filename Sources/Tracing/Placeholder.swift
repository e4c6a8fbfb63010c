enum TracingPlaceholder {}
