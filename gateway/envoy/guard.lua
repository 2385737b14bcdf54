-- The guard of control calls: a page in somebody's browser must not be able to call the mesh of the machine it
-- is read on. `Host` must name this machine or an allowed host (a rebound DNS name does neither), and an
-- `Origin`, which every browser sends with such a request, must be that same host or an allowed origin.
-- The allowed names come from the route's filter context: {"hosts": {name: true}, "origins": {origin: true}}.

local LOOPBACK = { ["localhost"] = true, ["::1"] = true }

-- "[::1]:8080" -> "::1", "Example.org:80" -> "example.org"
local function host_of(authority)
  local host = authority:match("^%[([%x:.]+)%]:?%d*$") or authority:match("^([^:]*):?%d*$") or ""
  return host:lower()
end

local function is_loopback(host)
  return LOOPBACK[host]
    or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
    or host:find("^[%w-]+%.localhost$") ~= nil
end

local function refuse(handle, reason, detail)
  handle:streamInfo():dynamicMetadata():set("fnmesh.gateway", "reason", reason)
  handle:respond({ [":status"] = "403" }, detail)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local context = handle:filterContext()
  local authority = headers:get(":authority") or ""
  local host = host_of(authority)
  if not (is_loopback(host) or context.hosts[host]) then
    return refuse(handle, "HOST_NOT_ALLOWED",
      "This mesh does not answer to the host name in the request; add it to FNMESH_GATEWAY_ALLOWED_HOSTS.")
  end
  local origin = headers:get("origin")
  if origin and not context.origins[origin:lower()] then
    local scheme = headers:get(":scheme") or "http"
    if origin:lower() ~= scheme:lower() .. "://" .. authority:lower() then
      return refuse(handle, "ORIGIN_NOT_ALLOWED",
        "Pages of that origin may not call this mesh; add it to FNMESH_GATEWAY_ALLOWED_ORIGINS.")
    end
  end
end
