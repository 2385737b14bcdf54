/* wasi:http/outgoing-handler: the host's, for the hosts that FNMESH_ALLOWED_HOSTS names.
 *
 * Its value is a list of `scheme|host|first port|last port;`, lower case, scheme and host maybe `*`, host maybe
 * `*.example.com`; it is written by deploy_svc of the manifest's allowed_outbound_hosts. Without it nothing may be
 * called. */
#include "abi.h"

enum { HTTP_REQUEST_DENIED = 15, SCHEME_HTTP = 0, SCHEME_HTTPS = 1 };

IMPORT("wasi:http/types@0.2.0", "[method]outgoing-request.scheme") void request_scheme(handle request, u32 *result);
IMPORT("wasi:http/types@0.2.0", "[method]outgoing-request.authority")
void request_authority(handle request, u32 *result);
IMPORT("wasi:http/types@0.2.0", "[resource-drop]outgoing-request") void drop_request(handle request);
IMPORT("wasi:http/types@0.2.0", "[resource-drop]request-options") void drop_options(handle options);
IMPORT("wasi:http/outgoing-handler@0.2.0", "handle")
void host_handle(handle request, u32 has_options, handle options, u32 *result);

typedef struct {
  text scheme, host;
  u32 port;
} target;

static text lowered(text from) {
  char *made = take(from.size);
  for (u32 i = 0; i < from.size; i++) {
    char c = from.at[i];
    made[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
  }
  return (text){made, from.size};
}

static bool number(text digits, u32 *value) {
  *value = 0;
  if (digits.size == 0 || digits.size > 5) return false;
  for (u32 i = 0; i < digits.size; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9') return false;
    *value = *value * 10 + (u32)(digits.at[i] - '0');
  }
  return *value <= 65535;
}

/* What is before the next `mark`; `from` begins after it then. */
static text next(text *from, char mark) {
  u32 size = 0;
  while (size < from->size && from->at[size] != mark) size++;
  text found = {from->at, size};
  u32 skip = size < from->size ? size + 1 : size;
  from->at += skip;
  from->size -= skip;
  return found;
}

/* `host`, `host:port`, `[::1]:port`; nothing with a user in it. */
static bool split(text authority, target *to) {
  u32 colon = authority.size;
  for (u32 i = 0; i < authority.size; i++) {
    if (authority.at[i] == '@') return false;
    if (authority.at[i] == ']') colon = authority.size;
    else if (authority.at[i] == ':') colon = i;
  }
  to->host = (text){authority.at, colon};
  if (to->host.size == 0) return false;
  if (to->host.at[to->host.size - 1] == '.') to->host.size--; /* a name may end with its root */
  to->port = equal(to->scheme, TEXT("https")) ? 443 : 80;
  return colon == authority.size || number((text){authority.at + colon + 1, authority.size - colon - 1}, &to->port);
}

static bool fits(target to, text rule) {
  text scheme = next(&rule, '|'), host = next(&rule, '|'), first = next(&rule, '|'), last = rule;
  u32 low, high;
  if (!number(first, &low) || !number(last, &high)) return false;
  if (!equal(scheme, TEXT("*")) && !equal(scheme, to.scheme)) return false;
  if (to.port < low || to.port > high) return false;
  if (equal(host, TEXT("*")) || equal(host, to.host)) return true;
  return begins(host, TEXT("*.")) && ends(to.host, (text){host.at + 1, host.size - 1});
}

static bool allowed(target to) {
  text rules;
  if (!find_variable(TEXT("FNMESH_ALLOWED_HOSTS"), &rules)) return false;
  while (rules.size)
    if (fits(to, next(&rules, ';'))) return true;
  return false;
}

EXPORT("wasi:http/outgoing-handler@0.2.0#handle") u32 *handle_request(handle request, u32 has_options, handle options) {
  u32 scheme[4], authority[3];
  request_scheme(request, scheme); /* option @0, variant @4, its text @8 */
  request_authority(request, authority); /* option @0, text @4 */
  target to = {TEXT("https"), {0, 0}, 0};
  text where = (uint8_t)authority[0] ? lowered((text){(const char *)authority[1], authority[2]}) : TEXT("");
  if ((uint8_t)scheme[0]) {
    uint8_t which = (uint8_t)scheme[1];
    if (which == SCHEME_HTTP) to.scheme = TEXT("http");
    else if (which != SCHEME_HTTPS) to.scheme = lowered((text){(const char *)scheme[2], scheme[3]});
  }
  if (split(where, &to) && allowed(to)) {
    host_handle(request, has_options, options, answer);
    return answer;
  }
  text parts[] = {TEXT("wasi:http/outgoing-handler: "), to.scheme, TEXT("://"), where,
                  TEXT(" is not in allowed_outbound_hosts of the component; the request was denied.")};
  tell(joined(parts, 5));
  drop_request(request);
  if (has_options) drop_options(options);
  answer[0] = 1; /* result @0, error-code @8 */
  answer[2] = HTTP_REQUEST_DENIED;
  return answer;
}
RESULT("wasi:http/outgoing-handler@0.2.0#handle") void handle_request_read(u32 *result) { free_all(); }
