"""Train, distil and export kwspot models. Needs torch; the runtime does not need this package."""
