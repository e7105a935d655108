"""The extra `demo`: a network trained, compressed and plotted."""

from wkmeans.cli import main

small = ["--hidden", "12", "--k", "4", "--densities", "0.5", "--temperature", "1"]
assert main(["demo", "--seeds", "1", *small, "--objectives", "baseline", "fisher"]) == 0
