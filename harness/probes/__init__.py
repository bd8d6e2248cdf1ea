"""One question to the operating system or the interpreter each: a number or a listing out."""
