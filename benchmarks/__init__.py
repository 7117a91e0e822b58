"""What nas claims about its speed, each claim measured anew: `make bench` prints docs/benchmarks.md's tables."""
