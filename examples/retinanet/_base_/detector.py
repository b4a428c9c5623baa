# The classes of the folder detector/ register themselves when it is imported.
import sys

# Wherever the command is run: the folder that holds detector/.
sys.path.insert(0, "{{ fileDirname }}/..")

imports = ["detector"]
