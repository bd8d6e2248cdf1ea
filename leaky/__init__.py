"""The bugs: each module leaks one kind of resource, as real services do."""
