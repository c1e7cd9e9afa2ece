"""A page in the browser: what models see in a picture, and new classes for them."""
