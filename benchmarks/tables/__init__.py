"""Tables of whole search spaces, trained once: `make` trains them, and `nas.workflows.tabular_benchmark` reads them."""
