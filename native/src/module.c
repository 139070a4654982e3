/* The addon's entry: each file registers its own functions. */
#include "module.h"

#define REGISTER(fn)                                                                                                   \
    if (!fn(env, exports))                                                                                             \
    return NULL

NAPI_MODULE_INIT()
{
    REGISTER(register_async);
    REGISTER(register_close_all);
    REGISTER(register_constants);
    REGISTER(register_credentials);
    REGISTER(register_directory);
    REGISTER(register_dirty_log);
    REGISTER(register_events);
    REGISTER(register_file);
    REGISTER(register_guest_io);
    REGISTER(register_guest_memory);
    REGISTER(register_inode);
    REGISTER(register_lock);
    REGISTER(register_node_loop);
    REGISTER(register_path);
    REGISTER(register_process);
    REGISTER(register_seccomp);
    REGISTER(register_shared_file);
    REGISTER(register_signals);
    REGISTER(register_socket);
    REGISTER(register_xattr);
#ifdef SANITIZED
    REGISTER(register_sanitizer_trap);
#endif
    return exports;
}
