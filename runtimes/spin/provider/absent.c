/* The interfaces of Spin that are not offered: opening anything is answered with the interface's own error, in words.
 * Nothing can be done with a connection, since there is no way to have one. */
#include "abi.h"

#define ABSENT_SENTENCE(interface) \
  TEXT(interface " is not offered by this host: call the service over HTTP, or run the function where Spin itself runs.")

/* A function whose error with a text is case `which`, with the payload @4. */
#define ABSENT(interface, function, which, symbol, ...)                                             \
  EXPORT(interface "#" function) u32 *symbol(__VA_ARGS__) {                                          \
    return refuse(which, ABSENT_SENTENCE(interface));                                                \
  }                                                                                                  \
  RESULT(interface "#" function) void symbol##_read(u32 *result) { free_all(); }

#define NEVER(interface, function, type, symbol, ...) \
  EXPORT(interface "#" function) type symbol(__VA_ARGS__) { __builtin_trap(); }

#define NO_CONNECTION(interface, symbol) \
  EXPORT(interface "#[dtor]connection") void symbol##_dtor(handle connection) {}

#define TWO handle self, u32 a, u32 b
#define FOUR handle self, u32 a, u32 b, u32 c, u32 d

#define LLM "fermyon:spin/llm@2.0.0"
ABSENT(LLM, "infer", 1, infer, u32 a, u32 b, u32 c, u32 d, u32 e, u32 f, float g, u32 h, float i, u32 j, float k)
ABSENT(LLM, "generate-embeddings", 1, generate_embeddings, u32 a, u32 b, u32 c, u32 d)

#define REDIS "fermyon:spin/redis@2.0.0"
ABSENT(REDIS, "[static]connection.open", 3, redis_open, u32 a, u32 b)
NEVER(REDIS, "[method]connection.publish", u32 *, redis_publish, FOUR)
NEVER(REDIS, "[method]connection.get", u32 *, redis_get, TWO)
NEVER(REDIS, "[method]connection.set", u32 *, redis_set, FOUR)
NEVER(REDIS, "[method]connection.incr", u32 *, redis_incr, TWO)
NEVER(REDIS, "[method]connection.del", u32 *, redis_del, TWO)
NEVER(REDIS, "[method]connection.sadd", u32 *, redis_sadd, FOUR)
NEVER(REDIS, "[method]connection.smembers", u32 *, redis_smembers, TWO)
NEVER(REDIS, "[method]connection.srem", u32 *, redis_srem, FOUR)
NEVER(REDIS, "[method]connection.execute", u32 *, redis_execute, FOUR)
NO_CONNECTION(REDIS, redis)

#define MQTT "fermyon:spin/mqtt@2.0.0"
ABSENT(MQTT, "[static]connection.open", 3, mqtt_open, u32 a, u32 b, u32 c, u32 d, u32 e, u32 f, u64 g)
NEVER(MQTT, "[method]connection.publish", u32 *, mqtt_publish, FOUR, u32 e)
NO_CONNECTION(MQTT, mqtt)

/* All databases have the same shape; `which` is their error with a text. */
#define DATABASE(interface, which, symbol)                                        \
  ABSENT(interface, "[static]connection.open", which, symbol##_open, u32 a, u32 b) \
  NEVER(interface, "[method]connection.execute", u32 *, symbol##_execute, FOUR)    \
  NO_CONNECTION(interface, symbol)
#define QUERY(interface, symbol) NEVER(interface, "[method]connection.query", u32 *, symbol##_query, FOUR)

DATABASE("fermyon:spin/postgres@2.0.0", 0, postgres2)
QUERY("fermyon:spin/postgres@2.0.0", postgres2)
DATABASE("fermyon:spin/mysql@2.0.0", 0, mysql2)
QUERY("fermyon:spin/mysql@2.0.0", mysql2)
DATABASE("spin:postgres/postgres@3.0.0", 0, postgres3)
QUERY("spin:postgres/postgres@3.0.0", postgres3)
DATABASE("spin:postgres/postgres@4.0.0", 0, postgres4)
QUERY("spin:postgres/postgres@4.0.0", postgres4)
DATABASE("fermyon:spin/sqlite@2.0.0", 4, sqlite2)
DATABASE("spin:sqlite/sqlite@3.0.0", 4, sqlite3)
NEVER("spin:sqlite/sqlite@3.0.0", "[method]connection.last-insert-rowid", u64, sqlite3_last_insert_rowid, handle self)
NEVER("spin:sqlite/sqlite@3.0.0", "[method]connection.changes", u64, sqlite3_changes, handle self)
