"""``bin/docs``: the site of the documentation, and what is written into the documentation from the code."""
