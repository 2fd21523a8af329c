"""One module per subcommand of `odkd-prepare`: `add_arguments(parser)` and `run(arguments)`."""
