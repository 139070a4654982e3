#ifndef MODULE_H
#define MODULE_H

#include <node_api.h>
#include <stdbool.h>

bool register_async(napi_env env, napi_value exports);
bool register_close_all(napi_env env, napi_value exports);
bool register_constants(napi_env env, napi_value exports);
bool register_credentials(napi_env env, napi_value exports);
bool register_dirty_log(napi_env env, napi_value exports);
bool register_directory(napi_env env, napi_value exports);
bool register_events(napi_env env, napi_value exports);
bool register_file(napi_env env, napi_value exports);
bool register_guest_io(napi_env env, napi_value exports);
bool register_guest_memory(napi_env env, napi_value exports);
bool register_inode(napi_env env, napi_value exports);
bool register_lock(napi_env env, napi_value exports);
bool register_node_loop(napi_env env, napi_value exports);
bool register_path(napi_env env, napi_value exports);
bool register_process(napi_env env, napi_value exports);
bool register_sanitizer_trap(napi_env env, napi_value exports);
bool register_seccomp(napi_env env, napi_value exports);
bool register_shared_file(napi_env env, napi_value exports);
bool register_signals(napi_env env, napi_value exports);
bool register_socket(napi_env env, napi_value exports);
bool register_xattr(napi_env env, napi_value exports);

#endif
