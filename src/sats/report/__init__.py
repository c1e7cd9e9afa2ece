"""One HTML page about one run or several, or their figures as tables for papers and spreadsheets."""
