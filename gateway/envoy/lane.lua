-- The lane: any HTTP request under /api/ becomes one of the two calls of
-- fnmesh.internal.invoke.v1.HttpService, and its answer becomes HTTP again.
--
-- Nothing is bound from the URL. Method, path, host and scheme travel as x-fn-* headers, which gRPC sees as
-- metadata; whatever a client sent under those names was removed before this filter (see listener.py).
-- The transcoder comes after this filter, so envoy_on_request runs before it and envoy_on_response after it.

local UNARY_PATH = "/.fnmesh/unary"
local STREAM_PATH = "/.fnmesh/stream"
-- A unary request is buffered whole: no more than this is sent that way.
local UNARY_MAX_BYTES = 65536

-- Methods that carry no body unless they say so with a length.
local BODILESS = { GET = true, HEAD = true, OPTIONS = true, DELETE = true, TRACE = true }

-- Headers about one connection only (RFC 9110, 7.6.1); Envoy drops `connection` itself. And one of our own.
local HOP_BY_HOP = {
  "te", "trailer", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "transfer-encoding",
  "x-fn-chunked",
}

local function percent_encode(text)
  return (text:gsub("[^ !#$&-~]", function(char) return string.format("%%%02X", char:byte()) end))
end

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Whether gRPC would refuse, decode or interpret a header that is harmless in HTTP.
local function foreign_to_grpc(name, value)
  return name:sub(-4) == "-bin"
    or name:sub(1, 5) == "grpc-"
    or name:find("[^a-z0-9_.-]") ~= nil
    or value:find("[^ -~]") ~= nil
end

local function fits_unary(headers, method, length)
  if length then
    return (tonumber(length) or math.huge) <= UNARY_MAX_BYTES
  end
  return BODILESS[method] == true and headers:get("x-fn-chunked") == nil
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authority = headers:get(":authority") or ""
  if authority:find(",", 1, true) then
    handle:respond({ [":status"] = "400" }, "")
    return
  end
  local method = headers:get(":method")
  local length = headers:get("content-length")
  local path = fits_unary(headers, method, length) and UNARY_PATH or STREAM_PATH

  for _, name in ipairs(HOP_BY_HOP) do
    headers:remove(name)
  end

  -- The function gets the request id of its caller, or none; the one there is now was made by Envoy.
  local request_id = headers:get("x-fn-client-request-id")
  headers:remove("x-request-id")
  if request_id then
    headers:remove("x-fn-client-request-id")
    headers:add("x-request-id", request_id)
  end

  local moved
  for name, value in pairs(headers) do
    if name:byte() ~= 58 and foreign_to_grpc(name, value) then
      moved = moved or {}
      moved[name] = true
    end
  end
  if moved then
    -- All of a name go together: their order stays.
    local aside = {}
    for name, value in pairs(headers) do
      if moved[name] then
        aside[#aside + 1] = name .. "=" .. percent_encode(value)
      end
    end
    for name in pairs(moved) do
      headers:remove(name)
    end
    for _, pair in ipairs(aside) do
      headers:add("x-fn-rh", pair)
    end
  end

  -- The transcoder lets a request that calls itself gRPC pass unchanged.
  local content_type = headers:get("content-type")
  if content_type and content_type:sub(1, 16):lower() == "application/grpc" then
    headers:add("x-fn-ct", content_type)
    headers:replace("content-type", "application/octet-stream")
  end

  local target = headers:get(":path")
  local metadata = handle:streamInfo():dynamicMetadata()
  -- The path is for the span (see tracing.py), the trace for errors.
  metadata:set("fnmesh.gateway", "path", target:match("^[^?]*"))
  metadata:set("fnmesh.gateway", "trace", headers:get("x-fn-trace") or "")
  if method == "HEAD" then
    metadata:set("fnmesh.gateway", "head", true)
  end
  headers:add("x-fn-method", method)
  headers:add("x-fn-path", target)
  headers:add("x-fn-host", authority)
  headers:add("x-fn-scheme", headers:get(":scheme") or "http")
  if length and path == STREAM_PATH then
    -- Of a body that is too large this is enough to say so.
    headers:add("x-fn-length", length)
  end
  headers:replace(":method", "POST")
  headers:replace(":path", path)
end

local CODES = {
  [1] = "CANCELLED", [2] = "UNKNOWN", [3] = "INVALID_ARGUMENT", [4] = "DEADLINE_EXCEEDED", [5] = "NOT_FOUND",
  [6] = "ALREADY_EXISTS", [7] = "PERMISSION_DENIED", [8] = "RESOURCE_EXHAUSTED", [9] = "FAILED_PRECONDITION",
  [10] = "ABORTED", [11] = "OUT_OF_RANGE", [12] = "UNIMPLEMENTED", [13] = "INTERNAL", [14] = "UNAVAILABLE",
  [15] = "DATA_LOSS", [16] = "UNAUTHENTICATED",
}

-- The JSON string that begins with the quote at `start`, quotes included.
local function json_string_at(text, start)
  local position = start + 1
  while true do
    local at = text:find('["\\]', position)
    if not at then
      return '""'
    elseif text:byte(at) == 34 then
      return text:sub(start, at)
    end
    position = at + 2
  end
end

-- A call that failed as an RPC, before an answer began: invoke_svc renders its own errors in band, so this is
-- the mesh's own trouble. The transcoder has made a google.rpc.Status of it (its code is a number; the replies
-- of Envoy itself have a name there); it gets the shape of all errors.
local function render_rpc_error(handle, trace)
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local code = CODES[tonumber(text:match('^{"code":(%d+)'))]
  if not code then
    return
  end
  if code == "CANCELLED" then
    -- Who has given up is not told anything: invoke_svc has stopped in the middle of the call.
    body:setBytes('{"detail":"A service of the mesh has stopped in the middle of the call; try again.",'
      .. '"code":"UNAVAILABLE","reason":"SERVICE_UNAVAILABLE","trace_id":"' .. trace .. '"}')
    handle:headers():replace("retry-after", "1")
    return
  end
  local _, message_at = text:find('"message":"', 1, true)
  body:setBytes(string.format('{"detail":%s,"code":"%s","reason":"%s","trace_id":"%s"}',
    message_at and json_string_at(text, message_at) or '""', code,
    text:match('"reason":%s*"([A-Z0-9_]+)"') or "INVOKE_FAILED", trace))
  if code == "UNAVAILABLE" then
    -- The headers from before have gone out of scope while the body was awaited.
    handle:headers():replace("retry-after", "1")
  end
end

-- Names that frame a message or are about one connection: an answer's headers are the function's, these are not.
local NEVER_IN_ANSWER = {
  [""] = true, ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true,
  ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- The value of a header, decoded. invoke_svc sends none that would be more than one line; the answers of all
-- functions pass here, so this does not depend on it.
local function decoded_line(value)
  if value:find("%", 1, true) then
    value = percent_decode(value):gsub("[%z\1-\8\10-\31\127]", " ")
  end
  return value
end

local function add_decoded(headers, pair)
  local equals = pair:find("=", 1, true)
  if not equals then
    return
  end
  local name, value = pair:sub(1, equals - 1), pair:sub(equals + 1)
  if NEVER_IN_ANSWER[name] or name:sub(1, 5) == "x-fn-" or name:find("[^a-z0-9!#$%%&'*+.^_`|~-]") then
    return
  end
  value = decoded_line(value)
  if name ~= "content-length" or (value:find("^%d+$") and not headers:get(name)) then
    headers:add(name, value)
  end
end

local function restore(headers, status)
  headers:replace(":status", status)
  headers:remove("x-fn-status")

  local content_type = headers:get("x-fn-ct")
  if content_type then
    headers:replace("content-type", decoded_line(content_type))
    headers:remove("x-fn-ct")
  else
    headers:remove("content-type")
  end

  local count = headers:getNumValues("x-fn-h")
  if count > 0 then
    local pairs_sent = {}
    for index = 0, count - 1 do
      pairs_sent[index + 1] = headers:getAtIndex("x-fn-h", index)
    end
    headers:remove("x-fn-h")
    for _, pair in ipairs(pairs_sent) do
      add_decoded(headers, pair)
    end
  end
  if status == "204" then
    headers:remove("content-length")
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local known = handle:streamInfo():dynamicMetadata():get("fnmesh.gateway") or {}
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
  headers:remove("grpc-encoding")
  headers:remove("grpc-accept-encoding")

  local status = headers:get("x-fn-status")
  if status then
    if not status:find("^[2-5]%d%d$") then
      status = "502"
    end
    restore(headers, status)
  else
    if headers:get(":status") == "499" then
      headers:replace(":status", "503")
    end
    if not known.head then
      render_rpc_error(handle, known.trace or "")
    end
  end

  -- Envoy sees a POST by now and would write a body that may not be there: a client would take it for the next
  -- answer.
  if known.head or status == "204" or status == "304" then
    for chunk in handle:bodyChunks() do
      chunk:setBytes("")
    end
  end
end
