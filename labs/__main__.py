"""`python -m labs`: the course."""

import sys

from harness import command
from labs.course.commands import main

if __name__ == "__main__":
    sys.exit(command.run("labs", lambda: main(sys.argv[1:])))
