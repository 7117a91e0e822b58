"""Tables of whole search spaces, trained once: `make` trains them, and `nas.benchmark` reads them."""
