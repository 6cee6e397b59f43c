"""What people's modules do when they are imported.

Each module has a function `look`, which tells what a run sees of that, and perhaps `own`, which tells what no two runs
share. `served` makes one job of them all; `test_warm_modules` compares what its runs tell behind both servers.
"""
