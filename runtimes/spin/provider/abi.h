/* What all parts of the provider share: the canonical ABI by hand, memory, text, the environment.
 *
 * Exported functions get their arguments flat; a result of more than one number is written to `answer`, whose address
 * is returned. Numbers in comments such as @4 are offsets in a result's memory. There is no C library.
 */
#ifndef ABI_H
#define ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;
typedef u32 handle;

typedef struct {
  const char *at;
  u32 size;
} text;

typedef struct {
  text name, value;
} variable;

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

/* After an export's result has been read, all memory that it took is free again. */
#define RESULT(function) EXPORT("cabi_post_" function)

extern u32 answer[16];

void *take(u32 size);
void free_all(void);

void *memcpy(void *to, const void *from, size_t size);
bool equal(text a, text b);
bool begins(text whole, text start);
bool ends(text whole, text end);
text joined(const text *parts, u32 count);

/* The environment as wasmtime was given it. */
const variable *environment(u32 *count);
bool find_variable(text name, text *value);

/* One line on standard error, where the function's own output is. */
void tell(text line);

/* answer = error(case(message)), for variants whose payload begins at @4: nearly all of them. */
u32 *refuse(u32 which, text message);

#endif
