"""`batchflow serve`: Cortex's HTTP API in front of either engine. The only package that imports FastAPI.

A request's way: observe (request id, log line, metrics) → guard (who asks, from where) → cortex or operator (its endpoint) → client.

credentials   the tokens, read again when their file changes
tenants       what a token may see: a namespace with its client, and which path is which api's
body          a request's body, bounded, kept on disk while it waits for its turn
documents     the schemas of the OpenAPI document
"""
