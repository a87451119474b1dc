"""The contracts of methods, networks and data sets as tests, for code of your own too. They need pytest."""
