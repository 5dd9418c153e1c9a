"""The exceptions that mean: this is not a fault of the program, and here is what would be right."""


class UserError(ValueError):
    """Bad input, said in one sentence that names the file, key or value and what would be right.

    The command line prints the sentence and exits with code 2.
    """


class StorageError(UserError):
    """The machine does not take or give a file (disk or quota full, no permission): the input is right.

    What was asked for stays asked for; the same command goes on once the reason is gone.
    """


class Notice(UserWarning):
    """Something that the user should know and that stops nothing, in one sentence; the command line prints it alone."""


def counted(number: int, noun: str) -> str:
    """A number and what it counts, as a sentence has it: "1 weight", "2 weights"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
