"""What a student is asked, one file an idea: keywords, and what teachers know."""
