"""The entry point: `lorabench`, and `python -m lorabench`. Signals are answered before anything large is imported."""

from lorabench import interrupts


def main() -> None:
    """Run the command line. Exit code 128 + the signal's number if one ended it: 130 after Ctrl-C."""
    interrupts.listen()
    try:
        try:
            from lorabench.cli import main as command_line

            command_line()
        finally:
            interrupts.check()
            interrupts.stop_listening()
    except interrupts.Interrupted as interrupted:
        interrupts.leave(interrupted.number)


if __name__ == "__main__":
    main()
