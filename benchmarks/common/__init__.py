"""Code that several benchmarks share, or that one runs in processes of its own."""
