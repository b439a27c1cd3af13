"""The commands that the export side adds to `kwspot`, one module each."""
