"""The record of a sweep: the ledger, what identifies a trial, and the seams for executors and trackers."""
