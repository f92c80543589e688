"""Looking at datasets: is everything there and right, what is in it, what does an image look like.

Nothing here is needed by a stage, so changes to it leave stages' keys alone.
"""
