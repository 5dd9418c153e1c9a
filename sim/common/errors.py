"""The one exception that means: the input is wrong, and here is what would be right."""


class UserError(ValueError):
    """Bad input, said in one sentence that names the file, key or value and what would be right.

    The command line prints the sentence and exits with code 2.
    """
