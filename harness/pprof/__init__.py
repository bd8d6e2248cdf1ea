"""Profiles of a running program, in the form that `go tool pprof` and a browser read."""
