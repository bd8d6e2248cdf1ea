"""The course: learners mend copies of the leaky twins, and measurement judges them."""
