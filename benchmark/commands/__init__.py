"""The verbs of the command line: one thin file each."""
