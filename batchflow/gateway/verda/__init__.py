"""Verda's management API (spec/verda.md section 2). Its inference side is gateway/inference.py.

management      job deployments
authentication  the token endpoint
answers         errors as Verda has them
"""
