"""For who runs a cluster: what a namespace needs (install.py), and what is wrong there (examine.py, which `doctor` prints)."""
