"""What a user can put right, said in one line."""


class UsageError(Exception):
    """Something that the user asked for cannot be done: what was wrong, the value, what to do."""
