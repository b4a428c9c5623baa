# Every config of this folder has this base, and so knows the models of foo.py.
import sys

# Wherever the command is run: the folder that holds foo.py.
sys.path.insert(0, "{{ fileDirname }}/..")

imports = ["foo"]
