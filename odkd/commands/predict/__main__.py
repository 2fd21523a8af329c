"""`python -m odkd.commands.predict`: the same as `odkd-predict`."""

from odkd.commands.predict import main

if __name__ == "__main__":
    main()
