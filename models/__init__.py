"""The models that are installed with kwspot, and their cards."""
