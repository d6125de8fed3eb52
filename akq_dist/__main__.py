"""`python -m akq_dist`: the command `akq` where its script is not on the path, as in a job of a cluster."""

from akq_dist.cli import main

main()
