"""The parts of the tracker: stacks, patches, records and the operating system's listing."""
