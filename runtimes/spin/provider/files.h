/* Key-value stores as directories: a file for each key. */
#ifndef FILES_H
#define FILES_H

#include "abi.h"

typedef enum { DONE, ABSENT, FAILED } outcome;

/* A store is a directory below the one that the host gave; 0 where there is none of that name. */
handle open_store(text name);
void close_store(handle store);

/* `why` says what went wrong, where FAILED is returned. */
outcome read_key(handle store, text key, text *value, text *why);
outcome write_key(handle store, text key, text value, text *why);
outcome delete_key(handle store, text key, text *why);
outcome key_exists(handle store, text key, text *why);
outcome list_keys(handle store, text **keys, u32 *count, text *why);

#endif
