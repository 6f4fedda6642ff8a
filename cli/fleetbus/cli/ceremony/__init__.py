"""The ceremonies of a fleet's owner: make a fleet, join a cluster, take it out again, share a secret.

What may enter: plain functions over a fleet's folder, a cluster's API and Vault with its owner's token; each
can be repeated and then changes nothing. What may not: anything that an operator's everyday credential does.
"""
