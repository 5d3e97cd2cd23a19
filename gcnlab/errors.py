"""The exceptions for input that the user can mend."""


class UserError(Exception):
    """Bad input: the message is one line that names the file or option and the remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


class NoSuchModel(UserError, ValueError):
    """Numbers and names, of a rule or a config, that describe no model."""
