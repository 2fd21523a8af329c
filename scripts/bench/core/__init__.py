"""What all cases of the benchmark share: their declaration, timing, results, comparison and the page."""
