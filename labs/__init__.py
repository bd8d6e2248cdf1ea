"""The labs: each a short module that says how to drive and judge a pair of twins."""
