"""The live page of a run: its curves, what is open and by whom held, and the way to profiles."""
