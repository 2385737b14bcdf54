/* Memory, text, and the two interfaces of the host that everything here needs. */
#include "abi.h"

extern unsigned char __heap_base;
static u32 heap_at;
u32 answer[16] __attribute__((aligned(8)));

/* Memory is taken from the front and given back all at once: a call is short, and there is never more than one. */
void *take(u32 size) {
  if (heap_at == 0) free_all();
  u32 at = (heap_at + 7) & ~7u;
  u32 end = at + size;
  if (end < at) __builtin_trap();
  u64 have = (u64)__builtin_wasm_memory_size(0) << 16;
  if (end > have) {
    u32 pages = (u32)((end - have + 65535) >> 16);
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
  }
  heap_at = end;
  return (void *)at;
}

void free_all(void) { heap_at = (u32)&__heap_base; }

EXPORT("cabi_realloc") void *cabi_realloc(char *old, u32 old_size, u32 align, u32 size) {
  (void)align;
  char *made = take(size);
  if (old_size) __builtin_memcpy(made, old, old_size < size ? old_size : size);
  return made;
}

void *memcpy(void *to, const void *from, size_t size) {
  char *target = to;
  const char *source = from;
  while (size--) *target++ = *source++;
  return to;
}

void *memset(void *to, int value, size_t size) {
  char *target = to;
  while (size--) *target++ = (char)value;
  return to;
}

bool equal(text a, text b) { return a.size == b.size && begins(a, b); }

bool begins(text whole, text start) {
  if (whole.size < start.size) return false;
  for (u32 i = 0; i < start.size; i++)
    if (whole.at[i] != start.at[i]) return false;
  return true;
}

bool ends(text whole, text end) {
  return whole.size >= end.size && begins((text){whole.at + whole.size - end.size, end.size}, end);
}

text joined(const text *parts, u32 count) {
  u32 size = 0;
  for (u32 i = 0; i < count; i++) size += parts[i].size;
  char *made = take(size), *at = made;
  for (u32 i = 0; i < count; i++) {
    memcpy(at, parts[i].at, parts[i].size);
    at += parts[i].size;
  }
  return (text){made, size};
}

IMPORT("wasi:cli/environment@0.2.0", "get-environment") void host_environment(u32 *list);

const variable *environment(u32 *count) {
  u32 list[2];
  host_environment(list);
  *count = list[1];
  return (const variable *)list[0];
}

bool find_variable(text name, text *value) {
  u32 count;
  const variable *all = environment(&count);
  for (u32 i = 0; i < count; i++)
    if (equal(all[i].name, name)) {
      *value = all[i].value;
      return true;
    }
  return false;
}

IMPORT("wasi:cli/stderr@0.2.0", "get-stderr") handle host_stderr(void);
IMPORT("wasi:io/streams@0.2.0", "[method]output-stream.blocking-write-and-flush")
void host_write(handle stream, const char *at, u32 size, u32 *result);
IMPORT("wasi:io/streams@0.2.0", "[resource-drop]output-stream") void drop_stream(handle stream);
IMPORT("wasi:io/error@0.2.0", "[resource-drop]error") void drop_error(handle error);

enum { WRITE_BYTES = 4096 };

void tell(text line) {
  text parts[] = {line, TEXT("\n")};
  text whole = joined(parts, 2);
  u32 result[4];
  handle stream = host_stderr();
  host_write(stream, whole.at, whole.size < WRITE_BYTES ? whole.size : WRITE_BYTES, result);
  if ((uint8_t)result[0] == 1 && (uint8_t)result[1] == 0) drop_error(result[2]);
  drop_stream(stream);
}

u32 *refuse(u32 which, text message) {
  answer[0] = 1;
  answer[1] = which;
  answer[2] = (u32)message.at;
  answer[3] = message.size;
  return answer;
}
