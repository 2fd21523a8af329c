"""`python -m odkd.commands.predict`: the same as `odkd-predict`."""

from odkd.commands.predict import main

main()
