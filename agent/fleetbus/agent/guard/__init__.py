"""The guard: the cluster owner's policy on what the agent writes, as manifests. Nothing of it runs in the agent.

What may enter: the text of checks (CEL, evaluated by the apiserver) and what builds the policy from them.
`variables` names what the checks look at, `places`, `pods` and `rights` hold the checks, `policy` puts it together.
"""
