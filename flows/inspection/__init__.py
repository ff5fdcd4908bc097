"""`hibari inspect`: what became of the pages of a crawl, one page's whole story, and what other thresholds would do."""
