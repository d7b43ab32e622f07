"""What leaves the program for people: the report of a result, with the numbers as JSON and CSV."""
