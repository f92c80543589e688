    Damage("text for an image", write(IMAGE, b"<html>"),
           rf"{FIRST}\.jpg cannot be read .*: replace", "images"),
           rf"{FIRST}\.png is 30 x 40 pixels but its image .*{FIRST}\.jpg is 40 x 30: replace", "sizes"),
