"""`python -m odkd.commands.profile`: the same as `odkd-profile`."""

from odkd.commands.profile import main

if __name__ == "__main__":
    main()
