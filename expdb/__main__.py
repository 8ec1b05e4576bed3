"""`python -m expdb` is the command `expdb`."""

from expdb.cli import main

if __name__ == "__main__":
    main()
