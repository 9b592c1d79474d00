"""What a deployment consists of, once, in Python: the shipped CloudFormation templates are made of
it by `scripts/make-templates`.

Only that script and the tests use this package: it needs troposphere, which a deployment does not.
"""
