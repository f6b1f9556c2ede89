"""What tests of search methods need: benchmarks in memory and the conformance kit."""
