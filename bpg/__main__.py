"""`python -m bpg`: the command line."""

from bpg.cli import main

if __name__ == "__main__":
    main()
