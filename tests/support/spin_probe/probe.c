/* A small Spin component for tests: does what the query of a request says, `?verb:argument`, and answers in text. */
#include "abi.h"

#define HTTP "wasi:http/types@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"
#define STORE "fermyon:spin/key-value@2.0.0"
#define BUCKET "wasi:keyvalue/store@0.2.0-draft2"

IMPORT(HTTP, "[method]incoming-request.path-with-query") void request_path(handle request, u32 *result);
IMPORT(HTTP, "[method]incoming-request.headers") handle request_headers(handle request);
IMPORT(HTTP, "[method]incoming-request.consume") void request_consume(handle request, u32 *result);
IMPORT(HTTP, "[method]incoming-body.stream") void body_stream(handle body, u32 *result);
IMPORT(HTTP, "[method]fields.entries") void fields_entries(handle fields, u32 *result);
IMPORT(HTTP, "[constructor]fields") handle new_fields(void);
IMPORT(HTTP, "[constructor]outgoing-response") handle new_response(handle fields);
IMPORT(HTTP, "[method]outgoing-response.set-status-code") u32 set_status(handle response, u32 status);
IMPORT(HTTP, "[method]outgoing-response.body") void response_body(handle response, u32 *result);
IMPORT(HTTP, "[method]outgoing-body.write") void body_write(handle body, u32 *result);
IMPORT(HTTP, "[static]outgoing-body.finish") void body_finish(handle body, u32 some, handle trailers, u32 *result);
IMPORT(HTTP, "[static]response-outparam.set")
void respond(handle out, u32 error, handle response, u32 a, u64 b, u32 c, u32 d, u32 e, u32 f);
IMPORT(HTTP, "[constructor]outgoing-request") handle new_request(handle fields);
IMPORT(HTTP, "[method]outgoing-request.set-scheme")
u32 set_scheme(handle request, u32 some, u32 which, const char *at, u32 size);
IMPORT(HTTP, "[method]outgoing-request.set-authority")
u32 set_authority(handle request, u32 some, const char *at, u32 size);
IMPORT(HTTP, "[method]outgoing-request.set-path-with-query")
u32 set_path(handle request, u32 some, const char *at, u32 size);
IMPORT("wasi:http/outgoing-handler@0.2.0", "handle") void send(handle request, u32 some, handle options, u32 *result);
IMPORT(HTTP, "[method]future-incoming-response.subscribe") handle future_subscribe(handle future);
IMPORT(HTTP, "[method]future-incoming-response.get") void future_get(handle future, u32 *result);
IMPORT(HTTP, "[method]incoming-response.status") u32 response_status(handle response);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") void block(handle pollable);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_write(handle stream, const char *at, u32 size, u32 *result);
IMPORT(STREAMS, "[method]input-stream.blocking-read") void stream_read(handle stream, u64 size, u32 *result);
IMPORT(STREAMS, "[resource-drop]output-stream") void drop_output(handle stream);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") handle get_stdout(void);
IMPORT("wasi:clocks/monotonic-clock@0.2.0", "subscribe-duration") handle sleep_for(u64 nanoseconds);
IMPORT("wasi:filesystem/preopens@0.2.0", "get-directories") void get_directories(u32 *list);
IMPORT("fermyon:spin/variables@2.0.0", "get") void variable_get(const char *at, u32 size, u32 *result);
IMPORT("wasi:config/store@0.2.0-draft-2024-09-27", "get") void config_get(const char *at, u32 size, u32 *result);
IMPORT("wasi:config/store@0.2.0-draft-2024-09-27", "get-all") void config_all(u32 *result);
IMPORT(STORE, "[static]store.open") void store_open(const char *at, u32 size, u32 *result);
IMPORT(STORE, "[method]store.get") void store_get(handle store, const char *key, u32 size, u32 *result);
IMPORT(STORE, "[method]store.set")
void store_set(handle store, const char *key, u32 size, const char *value, u32 value_size, u32 *result);
IMPORT(STORE, "[method]store.delete") void store_delete(handle store, const char *key, u32 size, u32 *result);
IMPORT(STORE, "[method]store.exists") void store_exists(handle store, const char *key, u32 size, u32 *result);
IMPORT(STORE, "[method]store.get-keys") void store_keys(handle store, u32 *result);
IMPORT(STORE, "[resource-drop]store") void drop_store(handle store);
IMPORT(BUCKET, "open") void bucket_open(const char *at, u32 size, u32 *result);
IMPORT(BUCKET, "[method]bucket.list-keys")
void bucket_keys(handle bucket, u32 some, const char *at, u32 size, u32 *result);
IMPORT("wasi:keyvalue/batch@0.2.0-draft2", "get-many")
void get_many(handle bucket, const text *keys, u32 count, u32 *result);
IMPORT("wasi:keyvalue/atomics@0.2.0-draft2", "increment")
void increment(handle bucket, const char *key, u32 size, int64_t delta, u32 *result);

#define OPEN(interface, symbol) \
  IMPORT(interface, "[static]connection.open") void symbol(const char *at, u32 size, u32 *result);
OPEN("fermyon:spin/redis@2.0.0", redis)
OPEN("fermyon:spin/postgres@2.0.0", postgres2)
OPEN("fermyon:spin/mysql@2.0.0", mysql2)
OPEN("fermyon:spin/sqlite@2.0.0", sqlite2)
OPEN("spin:postgres/postgres@3.0.0", postgres3)
OPEN("spin:postgres/postgres@4.0.0", postgres4)
OPEN("spin:sqlite/sqlite@3.0.0", sqlite3)
IMPORT("fermyon:spin/mqtt@2.0.0", "[static]connection.open")
void mqtt(const char *a, u32 as, const char *b, u32 bs, const char *c, u32 cs, u64 interval, u32 *result);
IMPORT("fermyon:spin/llm@2.0.0", "generate-embeddings")
void embeddings(const char *a, u32 as, const text *b, u32 count, u32 *result);

static text out;

static void say(text more) {
  text parts[] = {out, more};
  out = joined(parts, 2);
}

static text number(u32 value) {
  char *digits = take(10);
  u32 at = 10;
  do digits[--at] = (char)('0' + value % 10);
  while (value /= 10);
  return (text){digits + at, 10 - at};
}

/* An error whose text, where it has one, is the fourth number; `first` is where the variant begins. */
static void say_error(const u32 *result, u32 first) {
  say(TEXT("error "));
  say(number((uint8_t)result[first]));
  if (result[first + 2] < 4096) {
    say(TEXT(" "));
    say((text){(const char *)result[first + 1], result[first + 2]});
  }
}

static text until(text *from, char mark) {
  u32 size = 0;
  while (size < from->size && from->at[size] != mark) size++;
  text found = {from->at, size};
  u32 skip = size < from->size ? size + 1 : size;
  from->at += skip;
  from->size -= skip;
  return found;
}

static void outgoing(text url) {
  bool tls = begins(url, TEXT("https://"));
  until(&url, '/');
  until(&url, '/');
  text authority = until(&url, '/');
  text parts[] = {TEXT("/"), url};
  text path = joined(parts, 2);
  handle request = new_request(new_fields());
  set_scheme(request, 1, tls, "", 0);
  set_authority(request, 1, authority.at, authority.size);
  set_path(request, 1, path.at, path.size);
  u32 result[16] __attribute__((aligned(8)));
  send(request, 0, 0, result); /* 0 @0 and a future @8, or error-code @8 */
  if ((uint8_t)result[0]) {
    say(TEXT("refused "));
    say(number((uint8_t)result[2]));
    return;
  }
  handle future = result[2];
  block(future_subscribe(future));
  future_get(future, result); /* some @0, 0 @8, 0 @16, response @24 */
  if ((uint8_t)result[4]) {
    say(TEXT("failed "));
    say(number((uint8_t)result[6]));
    return;
  }
  say(TEXT("answered "));
  say(number(response_status(result[6])));
}

static void store(text verb, text argument) {
  u32 result[8] __attribute__((aligned(8))) = {0};
  store_open("default", 7, result);
  if ((uint8_t)result[0]) {
    say_error(result, 1);
    return;
  }
  handle opened = result[1];
  text key = until(&argument, '=');
  for (u32 i = 0; i < 8; i++) result[i] = 0;
  if (equal(verb, TEXT("get"))) {
    store_get(opened, key.at, key.size, result);
    if ((uint8_t)result[0] == 0) say((uint8_t)result[1] ? (text){(const char *)result[2], result[3]} : TEXT("(none)"));
  } else if (equal(verb, TEXT("set"))) {
    store_set(opened, key.at, key.size, argument.at, argument.size, result);
  } else if (equal(verb, TEXT("delete"))) {
    store_delete(opened, key.at, key.size, result);
  } else if (equal(verb, TEXT("exists"))) {
    store_exists(opened, key.at, key.size, result);
    if ((uint8_t)result[0] == 0) say((uint8_t)result[1] ? TEXT("yes") : TEXT("no"));
  } else {
    store_keys(opened, result);
    const text *found = (const text *)result[1];
    for (u32 i = 0; (uint8_t)result[0] == 0 && i < result[2]; i++) {
      say(found[i]);
      say(TEXT(" "));
    }
  }
  if ((uint8_t)result[0]) say_error(result, 1);
  drop_store(opened);
}

static void bucket(text verb, text argument) {
  u32 result[8] __attribute__((aligned(8))) = {0};
  bucket_open("default", 7, result);
  if ((uint8_t)result[0]) {
    say_error(result, 1);
    return;
  }
  handle opened = result[1];
  if (equal(verb, TEXT("wasi-many"))) {
    text keys[] = {until(&argument, ','), argument};
    get_many(opened, keys, 2, result);
    const u32 *found = (const u32 *)result[1];
    for (u32 i = 0; i < result[2]; i++, found += 5) {
      say((text){(const char *)found[0], found[1]});
      say(TEXT("="));
      say(found[2] ? (text){(const char *)found[3], found[4]} : TEXT("(none)"));
      say(TEXT(" "));
    }
  } else if (equal(verb, TEXT("wasi-increment"))) {
    increment(opened, argument.at, argument.size, 1, result);
    say_error(result, 2);
  } else {
    bucket_keys(opened, 0, "", 0, result);
    const text *found = (const text *)result[1];
    for (u32 i = 0; i < result[2]; i++) {
      say(found[i]);
      say(TEXT(" "));
    }
  }
}

static void absent(void) {
  void (*const opens[])(const char *, u32, u32 *) = {redis, postgres2, mysql2, sqlite2, postgres3, postgres4, sqlite3};
  for (u32 i = 0; i < 9; i++) {
    u32 result[8] __attribute__((aligned(8))) = {0};
    if (i < 7) opens[i]("x", 1, result);
    if (i == 7) mqtt("x", 1, "y", 1, "z", 1, 1, result);
    if (i == 8) embeddings("x", 1, 0, 0, result);
    say_error(result, 1);
    say(TEXT("\n"));
  }
}

static void show_environment(void) {
  u32 count, list[2];
  const variable *all = environment(&count);
  for (u32 i = 0; i < count; i++) {
    say(all[i].name);
    say(TEXT("="));
    say(all[i].value);
    say(TEXT("\n"));
  }
  get_directories(list);
  say(TEXT("directories: "));
  say(number(list[1]));
}

static void echo(handle request) {
  u32 result[4];
  fields_entries(request_headers(request), result);
  const variable *entries = (const variable *)result[0];
  u32 count = result[1];
  for (u32 i = 0; i < count; i++) {
    say(entries[i].name);
    say(TEXT(": "));
    say(entries[i].value);
    say(TEXT("\n"));
  }
  request_consume(request, result);
  body_stream(result[1], result);
  handle stream = result[1];
  while (true) {
    stream_read(stream, 65536, result);
    if ((uint8_t)result[0]) break;
    say((text){(const char *)result[1], result[2]});
  }
}

static void print(text line) {
  text parts[] = {line, TEXT("\n")};
  text whole = joined(parts, 2);
  u32 result[4];
  handle stream = get_stdout();
  stream_write(stream, whole.at, whole.size, result);
  drop_output(stream);
}

static u32 calls;

static void act(text verb, text argument, handle request) {
  u32 result[8] __attribute__((aligned(8))) = {0};
  if (equal(verb, TEXT("variable"))) {
    variable_get(argument.at, argument.size, result);
    if ((uint8_t)result[0]) say_error(result, 1);
    else say((text){(const char *)result[1], result[2]});
  } else if (equal(verb, TEXT("config"))) {
    config_get(argument.at, argument.size, result);
    say(result[1] ? (text){(const char *)result[2], result[3]} : TEXT("(none)"));
  } else if (equal(verb, TEXT("configs"))) {
    config_all(result);
    const variable *found = (const variable *)result[1];
    for (u32 i = 0; i < result[2]; i++) {
      say(found[i].name);
      say(TEXT("="));
      say(found[i].value);
      say(TEXT("\n"));
    }
  } else if (equal(verb, TEXT("open"))) {
    store_open(argument.at, argument.size, result);
    if ((uint8_t)result[0]) say_error(result, 1);
    else say(TEXT("opened"));
  } else if (begins(verb, TEXT("wasi-"))) {
    bucket(verb, argument);
  } else if (equal(verb, TEXT("out"))) {
    outgoing(argument);
  } else if (equal(verb, TEXT("absent"))) {
    absent();
  } else if (equal(verb, TEXT("environment"))) {
    show_environment();
  } else if (equal(verb, TEXT("echo"))) {
    echo(request);
  } else if (equal(verb, TEXT("print"))) {
    print(argument);
    tell(argument);
  } else if (equal(verb, TEXT("count"))) {
    say(number(calls));
  } else if (equal(verb, TEXT("sleep"))) {
    block(sleep_for(3600ull * 1000000000));
  } else if (equal(verb, TEXT("loop"))) {
    for (volatile u32 i = 0;; i++);
  } else if (equal(verb, TEXT("trap"))) {
    __builtin_trap();
  } else if (equal(verb, TEXT("memory"))) {
    while (true) *(volatile char *)take(1 << 20) = 1;
  } else if (verb.size && !equal(verb, TEXT("hello"))) {
    store(verb, argument);
  } else {
    say(TEXT("hello"));
  }
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle_request(handle request, handle answer_to) {
  out = (text){0, 0};
  calls++;
  u32 result[4];
  request_path(request, result);
  text path = (uint8_t)result[0] ? (text){(const char *)result[1], result[2]} : TEXT("/");
  until(&path, '?');
  text verb = until(&path, ':');
  act(verb, path, request);

  handle response = new_response(new_fields());
  set_status(response, 200);
  response_body(response, result);
  handle body = result[1];
  respond(answer_to, 0, response, 0, 0, 0, 0, 0, 0);
  body_write(body, result);
  handle stream = result[1];
  for (u32 at = 0; at < out.size; at += 4096) {
    u32 left = out.size - at;
    stream_write(stream, out.at + at, left < 4096 ? left : 4096, result);
  }
  drop_output(stream);
  body_finish(body, 0, 0, result);
  free_all();
}
