print("ulpsh")
