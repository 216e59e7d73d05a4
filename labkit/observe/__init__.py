"""observe: what is there, as plain rows that the command line, the widgets and a test read alike."""
