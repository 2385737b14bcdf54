"""What every service of the mesh shares and none owns. Knows no service.

| module | what it gives |
|---|---|
| `mesh.errors` | `MeshError` and its kinds, to and from `google.rpc.Status`, HTTP status and body |
| `mesh.rpc_server` | `serve(...)`: errors, auth, deadlines, traces, health, reflection, a graceful drain |
| `mesh.rpc_client` | `open_channel(...)`: token, deadlines, traces, errors as `MeshError`, safe retries |
| `mesh.deadline` | the deadline of the call being served: `remaining_s()`, `bounded(own_s)`, `detached()` |
| `mesh.auth` | `Principal`, `Scope`, `Authenticator`, `require_scope(...)`, `current_principal()`, `ServiceToken` |
| `mesh.keys` | `RemoteKeyVerifier` and `CachedKeyVerifier`: API keys, asked of the registry |
| `mesh.telemetry` | `setup(...)`, `span(...)`, `current_trace_id()`, W3C context, the sampler |
| `mesh.logs` | `get_logger(name).info("event", key=value)`: JSON lines bound to the trace, secrets struck out |
| `mesh.settings` | `MeshSettings`: FNMESH_* read once, frozen, unknown names refused |
| `mesh.db` | `Database`: SQLite or PostgreSQL, `read()`, `write()`, `next_version(...)`, `migrate(...)`, `UtcTime` |
| `mesh.blobs` | `open_blobs(url)`: `BlobStore` on a local directory or an object store |
| `mesh.clock` | `Clock`, `SystemClock`, `FakeClock` |
| `mesh.ids` | `new_id("fn-")`, `new_sortable_id()` |
| `mesh.names` | resource names: `parse(FUNCTION, name)`, `format_name(FUNCTION, ws, fn)` |
| `mesh.pages` | page sizes and opaque page tokens |
| `mesh.loops` | `run_forever(...)`, `claim_loop(...)`, `Backoff` |
| `mesh.membership` | `joined(...)`: be a member of Envoy's endpoints for as long as the context lasts |
| `mesh.main` | `run(...)`: what the `__main__` of each service calls |
"""
