"""`python -m odkd` is the `odkd` command."""

from odkd.main import main

if __name__ == "__main__":
    main()
