"""The same modules, mended: `diff -u leaky/X.py fixed/X.py` is the lesson."""
