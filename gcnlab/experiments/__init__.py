"""What is run: configs, profiles, and the machinery that turns a config into a record."""
