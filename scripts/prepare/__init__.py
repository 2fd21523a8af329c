"""One module per subcommand of `scripts/prepare_dataset.py`: `add_arguments(parser)` and `run(arguments)`."""
