/* Key-value stores as directories: a file for each key, its name the key's, percent-encoded, after a `k`.
 *
 * A value is written to a file of another name and moved to its place, so that nobody ever reads half of one. The
 * host gives one directory for all stores (see host.py); components do not see it, since it is not in what they get
 * as wasi:filesystem/preopens. */
#include "files.h"

enum { NAME_BYTES = 255, VALUE_BYTES = 8 << 20, READ_BYTES = 1 << 20, ENTRIES = 4096 };
enum { OPEN_CREATE = 1, OPEN_DIRECTORY = 2, OPEN_EXCLUSIVE = 4 }; /* open-flags */
enum { MAY_READ = 1, MAY_WRITE = 2, MAY_CHANGE = 32 };            /* descriptor-flags */
enum { NO_ENTRY = 20, NO_SPACE = 23, QUOTA = 6 };                 /* error-code */

typedef struct {
  handle descriptor;
  text name;
} directory;

#define STORES TEXT("/fnmesh-key-value")
#define FULL TEXT("full") /* a file that deploy_svc makes where the function has too much data; no key has this name */
#define TYPES "wasi:filesystem/types@0.2.0"
IMPORT("wasi:filesystem/preopens@0.2.0", "get-directories") void host_directories(u32 *list);
IMPORT(TYPES, "[method]descriptor.open-at")
void open_at(handle at, u32 follow, const char *path, u32 size, u32 how, u32 may, uint8_t *result);
IMPORT(TYPES, "[method]descriptor.read") void host_read(handle file, u64 size, u64 offset, u32 *result);
IMPORT(TYPES, "[method]descriptor.write")
void host_put(handle file, const char *at, u32 size, u64 offset, uint8_t *result);
IMPORT(TYPES, "[method]descriptor.rename-at")
void rename_at(handle at, const char *from, u32 from_size, handle to, const char *name, u32 size, uint8_t *result);
IMPORT(TYPES, "[method]descriptor.unlink-file-at")
void unlink_at(handle at, const char *path, u32 size, uint8_t *result);
IMPORT(TYPES, "[method]descriptor.read-directory") void read_directory(handle at, uint8_t *result);
IMPORT(TYPES, "[method]directory-entry-stream.read-directory-entry") void next_entry(handle stream, u32 *result);
IMPORT(TYPES, "[resource-drop]descriptor") void drop_descriptor(handle descriptor);
IMPORT(TYPES, "[resource-drop]directory-entry-stream") void drop_entries(handle stream);
IMPORT("wasi:random/random@0.2.0", "get-random-u64") u64 random_number(void);

static u32 word(const uint8_t *at) { return *(const u32 *)at; }

/* `result`: 0 @0 and a handle @4, or an error-code @4. */
static handle opened(handle at, text path, u32 how, u32 may, uint8_t *error) {
  uint8_t result[8] __attribute__((aligned(4)));
  open_at(at, 0, path.at, path.size, how, may, result);
  if (result[0] == 0) return word(result + 4);
  *error = result[4];
  return 0;
}

static outcome failed(const char *what, u32 size, uint8_t error, text *why) {
  char *digits = take(3);
  digits[0] = (char)('0' + error / 10 % 10);
  digits[1] = (char)('0' + error % 10);
  text reason = {digits, 2};
  if (error == NO_SPACE || error == QUOTA) reason = TEXT("there is no space left");
  text parts[] = {TEXT("the value cannot be "), {what, size}, TEXT(": error "), reason};
  *why = joined(parts, 4);
  return FAILED;
}
#define CANNOT(what, error) failed(what, sizeof(what) - 1, error, why)

handle open_store(text name) {
  u32 list[2];
  host_directories(list);
  directory *given = (directory *)list[0];
  handle found = 0;
  bool plain = name.size > 0 && name.size <= 64;
  for (u32 i = 0; i < name.size; i++) {
    char c = name.at[i];
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_');
  }
  for (u32 i = 0; i < list[1]; i++) {
    uint8_t error;
    if (plain && !found && equal(given[i].name, STORES))
      found = opened(given[i].descriptor, name, OPEN_DIRECTORY, MAY_READ | MAY_CHANGE, &error);
    drop_descriptor(given[i].descriptor);
  }
  return found;
}

void close_store(handle store) { drop_descriptor(store); }

static bool is_safe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static bool file_name(text key, text *name, text *why) {
  static const char hex[] = "0123456789ABCDEF";
  char *made = take(key.size * 3 + 1);
  u32 size = 0;
  made[size++] = 'k';
  for (u32 i = 0; i < key.size; i++) {
    char c = key.at[i];
    if (is_safe(c)) {
      made[size++] = c;
      continue;
    }
    made[size++] = '%';
    made[size++] = hex[(uint8_t)c >> 4];
    made[size++] = hex[c & 15];
  }
  *name = (text){made, size};
  *why = TEXT("the key is too long: a key has at most 254 letters, digits and . _ -, all other bytes count three");
  return size <= NAME_BYTES;
}

static u32 digit(char c) { return c <= '9' ? (u32)(c - '0') : (u32)(c - 'A' + 10); }

static text key_of(text name) {
  char *made = take(name.size);
  u32 size = 0;
  for (u32 i = 1; i < name.size; i++) {
    if (name.at[i] == '%' && i + 2 < name.size) {
      made[size++] = (char)(digit(name.at[i + 1]) << 4 | digit(name.at[i + 2]));
      i += 2;
    } else {
      made[size++] = name.at[i];
    }
  }
  return (text){made, size};
}

outcome read_key(handle store, text key, text *value, text *why) {
  text name;
  if (!file_name(key, &name, why)) return FAILED;
  uint8_t error;
  handle file = opened(store, name, 0, MAY_READ, &error);
  if (!file) return error == NO_ENTRY ? ABSENT : CANNOT("read", error);
  text whole = {0, 0};
  while (true) {
    u32 result[4]; /* 0 @0, bytes @4, whether that was all @12; or error-code @4 */
    host_read(file, READ_BYTES, whole.size, result);
    if ((uint8_t)result[0]) {
      drop_descriptor(file);
      return CANNOT("read", (uint8_t)result[1]);
    }
    text piece = {(const char *)result[1], result[2]};
    text parts[] = {whole, piece};
    whole = whole.size ? joined(parts, 2) : piece;
    if ((uint8_t)result[3] || piece.size == 0) break;
  }
  drop_descriptor(file);
  *value = whole;
  return DONE;
}

static bool put(handle file, text value, uint8_t *error) {
  u64 offset = 0;
  while (offset < value.size) {
    uint8_t result[16] __attribute__((aligned(8))); /* 0 @0 and a size @8, or error-code @8 */
    host_put(file, value.at + offset, value.size - (u32)offset, offset, result);
    if (result[0]) {
      *error = result[8];
      return false;
    }
    offset += *(u64 *)(result + 8);
  }
  return true;
}

outcome write_key(handle store, text key, text value, text *why) {
  text name;
  uint8_t error, result[2];
  if (!file_name(key, &name, why)) return FAILED;
  if (value.size > VALUE_BYTES) {
    *why = TEXT("the value is too large: a value has at most 8 MiB");
    return FAILED;
  }
  handle full = opened(store, FULL, 0, MAY_READ, &error);
  if (full) {
    drop_descriptor(full);
    *why = TEXT("the function's key-value data is over its limit: delete some first");
    return FAILED;
  }
  char *made = take(17);
  made[0] = 't';
  u64 number = random_number();
  for (u32 i = 1; i < 17; i++, number >>= 4) made[i] = "0123456789abcdef"[number & 15];
  text other = {made, 17};
  handle file = opened(store, other, OPEN_CREATE | OPEN_EXCLUSIVE, MAY_WRITE, &error);
  if (!file) return CANNOT("written", error);
  bool well = put(file, value, &error);
  drop_descriptor(file);
  if (well) {
    rename_at(store, other.at, other.size, store, name.at, name.size, result);
    if (result[0] == 0) return DONE;
    error = result[1];
  }
  unlink_at(store, other.at, other.size, result);
  return CANNOT("written", error);
}

outcome delete_key(handle store, text key, text *why) {
  text name;
  if (!file_name(key, &name, why)) return FAILED;
  uint8_t result[2];
  unlink_at(store, name.at, name.size, result);
  if (result[0] == 0) return DONE;
  return result[1] == NO_ENTRY ? ABSENT : CANNOT("deleted", result[1]);
}

outcome key_exists(handle store, text key, text *why) {
  text name;
  if (!file_name(key, &name, why)) return FAILED;
  uint8_t error;
  handle file = opened(store, name, 0, MAY_READ, &error);
  if (!file) return error == NO_ENTRY ? ABSENT : CANNOT("read", error);
  drop_descriptor(file);
  return DONE;
}

outcome list_keys(handle store, text **keys, u32 *count, text *why) {
  uint8_t begun[8] __attribute__((aligned(4)));
  read_directory(store, begun);
  if (begun[0]) return CANNOT("listed", begun[4]);
  handle stream = word(begun + 4);
  u32 room = ENTRIES;
  text *found = take(room * sizeof(text));
  *count = 0;
  while (true) {
    u32 entry[6]; /* 0 @0, some @4, type @8, name @12; or error-code @4 */
    next_entry(stream, entry);
    if ((uint8_t)entry[0]) {
      drop_entries(stream);
      return CANNOT("listed", (uint8_t)entry[1]);
    }
    if ((uint8_t)entry[1] == 0) break;
    text name = {(const char *)entry[3], entry[4]};
    if (name.size == 0 || name.at[0] != 'k') continue; /* being written */
    if (*count == room) {
      text *more = take(2 * room * sizeof(text));
      memcpy(more, found, room * sizeof(text));
      found = more;
      room *= 2;
    }
    found[(*count)++] = key_of(name);
  }
  drop_entries(stream);
  *keys = found;
  return DONE;
}

/* What the component sees: all that the host gives, but the stores. */
EXPORT("wasi:filesystem/preopens@0.2.0#get-directories") u32 *shown_directories(void) {
  u32 list[2], shown = 0;
  host_directories(list);
  directory *given = (directory *)list[0];
  for (u32 i = 0; i < list[1]; i++) {
    if (equal(given[i].name, STORES)) drop_descriptor(given[i].descriptor);
    else given[shown++] = given[i];
  }
  answer[0] = (u32)given;
  answer[1] = shown;
  return answer;
}
RESULT("wasi:filesystem/preopens@0.2.0#get-directories") void shown_directories_read(u32 *result) { free_all(); }
