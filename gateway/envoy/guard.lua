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

-- The reason and the sentence of a refusal; nothing where the request may pass.
local function refusal(headers, allowed)
  local authority = headers:get(":authority") or ""
  local host = host_of(authority)
  if not (is_loopback(host) or allowed:get("hosts")[host]) then
    return "HOST_NOT_ALLOWED",
      "This mesh does not answer to the host name in the request; add it to FNMESH_GATEWAY_ALLOWED_HOSTS."
  end
  local origin = headers:get("origin")
  if origin then
    local own = (headers:get(":scheme") or "http") .. "://" .. authority
    if origin:lower() ~= own:lower() and not allowed:get("origins")[origin:lower()] then
      return "ORIGIN_NOT_ALLOWED",
        "Pages of that origin may not call this mesh; add it to FNMESH_GATEWAY_ALLOWED_ORIGINS."
    end
  end
end

function envoy_on_request(handle)
  -- An error in a filter would let the request pass.
  local sound, reason, detail = pcall(refusal, handle:headers(), handle:filterContext())
  if not sound then
    handle:logErr("guard: " .. tostring(reason))
    reason, detail = "GUARD_FAILED", "The request could not be checked."
  end
  -- For the span (see tracing.py).
  handle:streamInfo():dynamicMetadata():set("fnmesh.gateway", "path", handle:headers():get(":path"):match("^[^?]*"))
  if reason then
    handle:streamInfo():dynamicMetadata():set("fnmesh.gateway", "reason", reason)
    handle:respond({ [":status"] = "403" }, detail)
  end
end
