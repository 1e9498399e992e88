"""One class for each noun of the API."""
