"""A stage that is made by an image without this project's code."""
