# The classes of the folder detector/ register themselves when it is imported; the folder of the config
# that is run is on the import path.
imports = ["detector"]
