"""The commands: what each console script does besides parsing."""
