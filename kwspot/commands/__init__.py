"""The commands of `kwspot`, one module each."""
