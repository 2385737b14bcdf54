/* Stands before a component's handler. It lets only the mesh in, whose requests carry the key that the host program was
 * started with; and it says, on standard error, whose request has come: wasmtime begins every line of a request with
 * its number, and by this line the mesh knows which trace has that number. */
#include "../abi.h"

#define TYPES "wasi:http/types@0.2.0"
#define HANDLER "wasi:http/incoming-handler@0.2.0"
#define MARK TEXT("\x1erequest ")
enum { TRACEPARENT_BYTES = 55, FORBIDDEN = 403 };

IMPORT(TYPES, "[method]incoming-request.headers") handle request_headers(handle request);
IMPORT(TYPES, "[method]fields.get") void fields_get(handle fields, const char *name, u32 size, u32 *list);
IMPORT(TYPES, "[resource-drop]fields") void drop_fields(handle fields);
IMPORT(TYPES, "[resource-drop]incoming-request") void drop_request(handle request);
IMPORT(TYPES, "[constructor]fields") handle new_fields(void);
IMPORT(TYPES, "[constructor]outgoing-response") handle new_response(handle fields);
IMPORT(TYPES, "[method]outgoing-response.set-status-code") u32 set_status(handle response, u32 status);
IMPORT(TYPES, "[static]response-outparam.set")
void respond(handle to, u32 error, handle response, u32 a, u64 b, u32 c, u32 d, u32 e, u32 f);
IMPORT(HANDLER, "handle") void handle_inside(handle request, handle answer_to);

static text header(handle fields, text name) {
  u32 list[2];
  fields_get(fields, name.at, name.size, list);
  return list[1] == 1 ? *(const text *)list[0] : TEXT("");
}

/* Takes as long whatever differs. */
static bool same(text a, text b) {
  char differs = 0;
  if (a.size != b.size) return false;
  for (u32 i = 0; i < a.size; i++) differs |= a.at[i] ^ b.at[i];
  return differs == 0;
}

EXPORT(HANDLER "#handle") void handle_request(handle request, handle answer_to) {
  text key;
  handle fields = request_headers(request);
  text given = header(fields, TEXT("x-fn-instance-key")), trace = header(fields, TEXT("traceparent"));
  drop_fields(fields); /* before the request is handed on, whose child it is */
  if (find_variable(TEXT("FNMESH_INSTANCE_KEY"), &key) && !same(given, key)) {
    drop_request(request);
    handle response = new_response(new_fields());
    set_status(response, FORBIDDEN);
    respond(answer_to, 0, response, 0, 0, 0, 0, 0, 0);
    return;
  }
  if (trace.size == TRACEPARENT_BYTES) {
    text parts[] = {MARK, trace};
    tell(joined(parts, 2));
  }
  free_all();
  handle_inside(request, answer_to);
}
