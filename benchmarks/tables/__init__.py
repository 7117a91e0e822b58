"""Tables of whole search spaces, trained once: see `train`, which makes them, and `nas.benchmark`, which reads them."""
