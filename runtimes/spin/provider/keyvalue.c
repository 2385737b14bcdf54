/* Key-value: fermyon:spin/key-value and wasi:keyvalue over the same stores (files.h). A store's handle is that of its
 * directory. */
#include "files.h"

#define STORE "fermyon:spin/key-value@2.0.0"
#define WASI "wasi:keyvalue/store@0.2.0-draft2"
#define BATCH "wasi:keyvalue/batch@0.2.0-draft2"
#define ATOMICS "wasi:keyvalue/atomics@0.2.0-draft2"

/* What errors are called in the two interfaces. */
enum { ACCESS_DENIED = 2, OTHER = 3 };
enum { WASI_ACCESS_DENIED = 1, WASI_OTHER = 2 };

IMPORT("[export]" STORE, "[resource-new]store") handle new_store(handle of);
IMPORT("[export]" WASI, "[resource-new]bucket") handle new_bucket(handle of);

EXPORT(STORE "#[dtor]store") void end_store(handle store) { close_store(store); }
EXPORT(WASI "#[dtor]bucket") void end_bucket(handle bucket) { close_store(bucket); }
EXPORT(ATOMICS "#[dtor]cas") void end_cas(handle cas) {}

static handle granted(text name, text interface) {
  handle found = open_store(name);
  if (!found) {
    text parts[] = {interface, TEXT(": the store '"), name,
                    TEXT("' is not among the key_value_stores of the component; access was denied.")};
    tell(joined(parts, 4));
  }
  return found;
}

static u32 *well(u32 first, u32 second, u32 third) {
  answer[0] = 0;
  answer[1] = first;
  answer[2] = second;
  answer[3] = third;
  answer[4] = 0;
  return answer;
}

/* --- fermyon:spin/key-value --- */

EXPORT(STORE "#[static]store.open") u32 *store_open(const char *at, u32 size) {
  handle store = granted((text){at, size}, TEXT("fermyon:spin/key-value"));
  return store ? well(new_store(store), 0, 0) : refuse(ACCESS_DENIED, TEXT(""));
}
RESULT(STORE "#[static]store.open") void store_open_read(u32 *result) { free_all(); }

static u32 *get(handle store, text key, u32 failure) {
  text value = {0, 0}, why;
  outcome how = read_key(store, key, &value, &why);
  return how == FAILED ? refuse(failure, why) : well(how == DONE, (u32)value.at, value.size);
}

static u32 *set(handle store, text key, text value, u32 failure) {
  text why;
  return write_key(store, key, value, &why) == FAILED ? refuse(failure, why) : well(0, 0, 0);
}

static u32 *delete(handle store, text key, u32 failure) {
  text why;
  return delete_key(store, key, &why) == FAILED ? refuse(failure, why) : well(0, 0, 0);
}

static u32 *exists(handle store, text key, u32 failure) {
  text why;
  outcome how = key_exists(store, key, &why);
  return how == FAILED ? refuse(failure, why) : well(how == DONE, 0, 0);
}

static u32 *keys(handle store, u32 failure) {
  text *found, why;
  u32 count;
  return list_keys(store, &found, &count, &why) == FAILED ? refuse(failure, why) : well((u32)found, count, 0);
}

EXPORT(STORE "#[method]store.get") u32 *store_get(handle store, const char *key, u32 size) {
  return get(store, (text){key, size}, OTHER);
}
RESULT(STORE "#[method]store.get") void store_get_read(u32 *result) { free_all(); }

EXPORT(STORE "#[method]store.set")
u32 *store_set(handle store, const char *key, u32 size, const char *value, u32 value_size) {
  return set(store, (text){key, size}, (text){value, value_size}, OTHER);
}
RESULT(STORE "#[method]store.set") void store_set_read(u32 *result) { free_all(); }

EXPORT(STORE "#[method]store.delete") u32 *store_delete(handle store, const char *key, u32 size) {
  return delete(store, (text){key, size}, OTHER);
}
RESULT(STORE "#[method]store.delete") void store_delete_read(u32 *result) { free_all(); }

EXPORT(STORE "#[method]store.exists") u32 *store_exists(handle store, const char *key, u32 size) {
  return exists(store, (text){key, size}, OTHER);
}
RESULT(STORE "#[method]store.exists") void store_exists_read(u32 *result) { free_all(); }

EXPORT(STORE "#[method]store.get-keys") u32 *store_get_keys(handle store) { return keys(store, OTHER); }
RESULT(STORE "#[method]store.get-keys") void store_get_keys_read(u32 *result) { free_all(); }

/* --- wasi:keyvalue/store --- */

EXPORT(WASI "#open") u32 *bucket_open(const char *at, u32 size) {
  handle store = granted((text){at, size}, TEXT("wasi:keyvalue/store"));
  return store ? well(new_bucket(store), 0, 0) : refuse(WASI_ACCESS_DENIED, TEXT(""));
}
RESULT(WASI "#open") void bucket_open_read(u32 *result) { free_all(); }

EXPORT(WASI "#[method]bucket.get") u32 *bucket_get(handle bucket, const char *key, u32 size) {
  return get(bucket, (text){key, size}, WASI_OTHER);
}
RESULT(WASI "#[method]bucket.get") void bucket_get_read(u32 *result) { free_all(); }

EXPORT(WASI "#[method]bucket.set")
u32 *bucket_set(handle bucket, const char *key, u32 size, const char *value, u32 value_size) {
  return set(bucket, (text){key, size}, (text){value, value_size}, WASI_OTHER);
}
RESULT(WASI "#[method]bucket.set") void bucket_set_read(u32 *result) { free_all(); }

EXPORT(WASI "#[method]bucket.delete") u32 *bucket_delete(handle bucket, const char *key, u32 size) {
  return delete(bucket, (text){key, size}, WASI_OTHER);
}
RESULT(WASI "#[method]bucket.delete") void bucket_delete_read(u32 *result) { free_all(); }

EXPORT(WASI "#[method]bucket.exists") u32 *bucket_exists(handle bucket, const char *key, u32 size) {
  return exists(bucket, (text){key, size}, WASI_OTHER);
}
RESULT(WASI "#[method]bucket.exists") void bucket_exists_read(u32 *result) { free_all(); }

/* All keys at once, whatever the cursor: there is never one to go on from. */
EXPORT(WASI "#[method]bucket.list-keys")
u32 *bucket_list_keys(handle bucket, u32 has_cursor, const char *cursor, u32 size) {
  return keys(bucket, WASI_OTHER);
}
RESULT(WASI "#[method]bucket.list-keys") void bucket_list_keys_read(u32 *result) { free_all(); }

/* --- wasi:keyvalue/batch --- */

typedef struct {
  text key;
  u32 some;
  text value;
} entry;

EXPORT(BATCH "#get-many") u32 *get_many(handle bucket, const text *names, u32 count) {
  entry *found = take(count * sizeof(entry));
  for (u32 i = 0; i < count; i++) {
    text why;
    found[i] = (entry){names[i], 0, {0, 0}};
    outcome how = read_key(bucket, names[i], &found[i].value, &why);
    if (how == FAILED) return refuse(WASI_OTHER, why);
    found[i].some = how == DONE;
  }
  return well((u32)found, count, 0);
}
RESULT(BATCH "#get-many") void get_many_read(u32 *result) { free_all(); }

EXPORT(BATCH "#set-many") u32 *set_many(handle bucket, const variable *pairs, u32 count) {
  for (u32 i = 0; i < count; i++) {
    u32 *how = set(bucket, pairs[i].name, pairs[i].value, WASI_OTHER);
    if (how[0]) return how;
  }
  return well(0, 0, 0);
}
RESULT(BATCH "#set-many") void set_many_read(u32 *result) { free_all(); }

EXPORT(BATCH "#delete-many") u32 *delete_many(handle bucket, const text *names, u32 count) {
  for (u32 i = 0; i < count; i++) {
    u32 *how = delete(bucket, names[i], WASI_OTHER);
    if (how[0]) return how;
  }
  return well(0, 0, 0);
}
RESULT(BATCH "#delete-many") void delete_many_read(u32 *result) { free_all(); }

/* --- wasi:keyvalue/atomics: files cannot be compared and swapped, so it says that it is not here --- */

#define NO_ATOMICS TEXT("wasi:keyvalue/atomics is not offered by this host.")

EXPORT(ATOMICS "#[static]cas.new") u32 *cas_new(handle bucket, const char *key, u32 size) {
  return refuse(WASI_OTHER, NO_ATOMICS);
}
RESULT(ATOMICS "#[static]cas.new") void cas_new_read(u32 *result) { free_all(); }

EXPORT(ATOMICS "#increment") u32 *increment(handle bucket, const char *key, u32 size, int64_t delta) {
  answer[0] = 1; /* the payload is @8 here */
  answer[2] = WASI_OTHER;
  answer[3] = (u32)NO_ATOMICS.at;
  answer[4] = NO_ATOMICS.size;
  return answer;
}
RESULT(ATOMICS "#increment") void increment_read(u32 *result) { free_all(); }

/* There is no way to have a `cas`. */
EXPORT(ATOMICS "#[method]cas.current") u32 *cas_current(handle cas) { __builtin_trap(); }
EXPORT(ATOMICS "#swap") u32 *swap(handle cas, const char *value, u32 size) { __builtin_trap(); }
