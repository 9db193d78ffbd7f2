"""${plural.words.capitalize()} of each user."""
