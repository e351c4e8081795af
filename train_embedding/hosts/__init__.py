"""Hosts: the programs that Train Embedding runs in, behind one protocol."""
