/* Variables: fermyon:spin/variables and wasi:config/store, both of them what SPIN_VARIABLE_<NAME> holds; and
 * wasi:cli/environment, which shows the component what FNMESH_ENV_<NAME> holds, and nothing else. */
#include "abi.h"

#define PREFIX TEXT("SPIN_VARIABLE_")
#define SHOWN TEXT("FNMESH_ENV_")
enum { INVALID_NAME = 0, UNDEFINED = 1 };

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static bool is_name(text name) {
  if (name.size == 0 || name.at[0] < 'a' || name.at[0] > 'z') return false;
  for (u32 i = 0; i < name.size; i++) {
    char c = name.at[i];
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

static bool find(text name, text *value) {
  text parts[] = {PREFIX, name};
  text whole = joined(parts, 2);
  char *at = (char *)whole.at;
  for (u32 i = PREFIX.size; i < whole.size; i++) at[i] = upper(at[i]);
  return find_variable(whole, value);
}

EXPORT("fermyon:spin/variables@2.0.0#get") u32 *variables_get(const char *at, u32 size) {
  text name = {at, size}, value;
  if (!is_name(name)) {
    text parts[] = {TEXT("fermyon:spin/variables: '"), name,
                    TEXT("' is no name of a variable: a-z, 0-9 and _, a letter first")};
    return refuse(INVALID_NAME, joined(parts, 3));
  }
  if (!find(name, &value)) {
    text parts[] = {TEXT("fermyon:spin/variables: the variable '"), name,
                    TEXT("' is not set: give the function an env or secret of that name")};
    return refuse(UNDEFINED, joined(parts, 3));
  }
  answer[0] = 0;
  answer[1] = (u32)value.at;
  answer[2] = value.size;
  return answer;
}
RESULT("fermyon:spin/variables@2.0.0#get") void variables_get_read(u32 *result) { free_all(); }

EXPORT("wasi:config/store@0.2.0-draft-2024-09-27#get") u32 *config_get(const char *at, u32 size) {
  text value = {0, 0};
  bool found = find((text){at, size}, &value);
  answer[0] = 0;
  answer[1] = found; /* some */
  answer[2] = (u32)value.at;
  answer[3] = value.size;
  return answer;
}
RESULT("wasi:config/store@0.2.0-draft-2024-09-27#get") void config_get_read(u32 *result) { free_all(); }

EXPORT("wasi:config/store@0.2.0-draft-2024-09-27#get-all") u32 *config_get_all(void) {
  u32 count, found = 0;
  const variable *all = environment(&count);
  variable *list = take(count * sizeof(variable));
  for (u32 i = 0; i < count; i++) {
    if (!begins(all[i].name, PREFIX)) continue;
    u32 size = all[i].name.size - PREFIX.size;
    char *name = take(size);
    for (u32 k = 0; k < size; k++) name[k] = lower(all[i].name.at[PREFIX.size + k]);
    list[found++] = (variable){{name, size}, all[i].value};
  }
  answer[0] = 0;
  answer[1] = (u32)list;
  answer[2] = found;
  return answer;
}
RESULT("wasi:config/store@0.2.0-draft-2024-09-27#get-all") void config_get_all_read(u32 *result) { free_all(); }

EXPORT("wasi:cli/environment@0.2.0#get-environment") u32 *shown_environment(void) {
  u32 count, found = 0;
  const variable *all = environment(&count);
  variable *list = take(count * sizeof(variable));
  for (u32 i = 0; i < count; i++) {
    if (!begins(all[i].name, SHOWN)) continue;
    text name = {all[i].name.at + SHOWN.size, all[i].name.size - SHOWN.size};
    list[found++] = (variable){name, all[i].value};
  }
  answer[0] = (u32)list;
  answer[1] = found;
  return answer;
}
RESULT("wasi:cli/environment@0.2.0#get-environment") void shown_environment_read(u32 *result) { free_all(); }

EXPORT("wasi:cli/environment@0.2.0#get-arguments") u32 *arguments(void) {
  answer[0] = answer[1] = 0;
  return answer;
}
RESULT("wasi:cli/environment@0.2.0#get-arguments") void arguments_read(u32 *result) { free_all(); }

EXPORT("wasi:cli/environment@0.2.0#initial-cwd") u32 *initial_cwd(void) {
  answer[0] = 0; /* none */
  return answer;
}
RESULT("wasi:cli/environment@0.2.0#initial-cwd") void initial_cwd_read(u32 *result) { free_all(); }
