"""What a run is said to have found: sentences, tables, figures and the page that holds them."""
