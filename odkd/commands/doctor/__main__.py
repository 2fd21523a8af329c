"""`python -m odkd.commands.doctor`: the same as `odkd-doctor`."""

from odkd.commands.doctor import main

if __name__ == "__main__":
    main()
