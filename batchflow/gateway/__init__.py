"""`batchflow serve`: Cortex's and Verda's HTTP APIs in front of either engine. The only package that imports FastAPI.

A request's way: observe (request id, log line, metrics) → guard (who asks, from where) → dispatch (for whose side) → its endpoint.

cortex, operator    Cortex's endpoints, which call the client
verda               Verda's management API, which calls deployments.service
inference           Verda's inference side, which calls deployments.calls; forwarding: what of a request its replica sees
credentials         who may ask, read again when its file changes; accesstokens: what Verda's clients get for their secrets
tenants             what somebody may see: a namespace with its client, which path is which api's, and its job deployments
schedulers          the threads that start and end the calls of job deployments
body                a request's body, bounded, kept on disk while it waits for its turn
schemas             the schemas of the OpenAPI document, which is about Cortex's endpoints
"""
