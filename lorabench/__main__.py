"""`python -m lorabench` = `lorabench`."""

from lorabench.cli import main

if __name__ == "__main__":
    main()
